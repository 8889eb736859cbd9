# Logical replication into an indexed table: the initial copy, what the apply
# worker inserts, updates and deletes, and merges that it asks for or makes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 24;
my $settings = "wal_level = logical\nhnsw_mmap.merge_log_entries = 300\n";
my $publisher = new_node('publisher', $settings, allows_streaming => 'logical');
my $subscriber = new_node('subscriber', $settings);

# Only the subscriber has indexes; a float2 column travels as such.
$_->safe_psql('postgres', 'CREATE TABLE items (id int PRIMARY KEY, n int DEFAULT 0, v real[], h float2[])') for ($publisher, $subscriber);
$subscriber->safe_psql('postgres', <<SQL);
CREATE INDEX items_v ON items USING hnsw_mmap (v);
CREATE INDEX items_h ON items USING hnsw_mmap (h float2_cosine_ops) WITH (vectors = 'fp16', m = 8, ef_construction = 60);
SQL

sub publish
{
	my ($first, $last) = @_;

	$publisher->safe_psql('postgres', "INSERT INTO items SELECT i, 0, hm_test.vec(i, $dim), hm_test.vec(-i, $dim)::float2[] FROM generate_series($first, $last) AS i");
}

# After everything has arrived: the same rows, and indexes that fit them.
sub arrived
{
	my ($what) = @_;
	my $rows = q{SELECT count(*), sum(id), sum(n), md5(string_agg(v::text || h::text, ',' ORDER BY id)) FROM items};

	$publisher->wait_for_catchup('items_sub');
	is($subscriber->safe_psql('postgres', $rows), $publisher->safe_psql('postgres', $rows), "$what: the rows are there");
	is(verdict($subscriber, 'items', $dim), 'sound', "$what: the index is sound, its answers right");
	is($subscriber->safe_psql('postgres', q{SELECT table_rows = (SELECT count(*) FROM items) FROM hnsw_mmap_check('items_h', true)}), 't',
		"$what: the other one is sound");
}

publish(1, 1500);
$publisher->safe_psql('postgres', 'CREATE PUBLICATION items_pub FOR TABLE items');
my $connection = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION items_sub CONNECTION '$connection' PUBLICATION items_pub");
$subscriber->wait_for_subscription_sync($publisher, 'items_sub');
arrived('initial copy');

publish(1501, 3000);
$publisher->safe_psql('postgres', <<SQL);
UPDATE items SET n = n + 1 WHERE id % 3 = 0;
UPDATE items SET v = hm_test.vec(id + 5000, $dim), h = NULL WHERE id % 7 = 0;
DELETE FROM items WHERE id % 5 = 0;
SQL
arrived('inserts, updates and deletes');
cmp_ok($subscriber->safe_psql('postgres', "SELECT merges FROM hnsw_mmap_stats('items_v')"), '>', 0, 'what the apply worker wrote has been merged');

# Nobody else merges for it: it does so itself.
$subscriber->append_conf('postgresql.conf', 'hnsw_mmap.merge_log_entries = 50');
$subscriber->reload;
for my $step (1 .. 5)
{
	publish(3000 + 100 * $step + 1, 3100 + 100 * $step);
}
arrived('small transactions');

# A transaction that is streamed and rolled back, and one that fails on a row of another dimension.
$publisher->safe_psql('postgres', "BEGIN; INSERT INTO items SELECT i, 0, hm_test.vec(i, $dim), NULL FROM generate_series(10001, 10400) AS i; ROLLBACK");
$subscriber->safe_psql('postgres', 'VACUUM items');
arrived('after a rollback and VACUUM');

my $place = -s $subscriber->logfile;
$publisher->safe_psql('postgres', "INSERT INTO items VALUES (20001, 0, '{1,2,3}', NULL)");
$subscriber->wait_for_log(qr/ERROR: .*expected $dim dimensions, not 3/, $place);
pass('a row that the index refuses stops replication with the error that says why');
$subscriber->safe_psql('postgres', 'DROP INDEX items_v; CREATE INDEX items_v ON items USING hnsw_mmap (v) WHERE cardinality(v) = ' . $dim);
$publisher->wait_for_catchup('items_sub');
is($subscriber->safe_psql('postgres', 'SELECT v FROM items WHERE id = 20001'), '{1,2,3}', 'and goes on once the index allows it');

$subscriber->stop;
$publisher->stop;
done_testing();
