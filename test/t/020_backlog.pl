# A log that grows faster than it is merged: inserters help, and are held back a
# little while queries read the index, and only then (src/index/backlog.c).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 64;
my $bound = 200;

# No worker can start, so that who merges is for the test to say.
my $node = new_injection_node('backlog', <<CONF);
max_worker_processes = 0
hnsw_mmap.merge_log_entries = $bound
CONF

sub stat_of
{
	my ($column) = @_;

	return $node->safe_psql('postgres', "SELECT $column FROM hnsw_mmap_stats('items_v')");
}

# insert(N, [SETTINGS]): as run_sql.
my $next = 1;

sub insert
{
	my ($n, $settings) = @_;
	my $last = $next + $n - 1;
	my @result = run_sql($node, ($settings // '') .
		"INSERT INTO items SELECT i, hm_test.vec(i, $dim) FROM generate_series($next, $last) AS i");

	$next = $last + 1 if $result[0] == 0;
	return @result;
}

$node->safe_psql('postgres', <<SQL);
CREATE TABLE items (id int PRIMARY KEY, v real[]);
CREATE INDEX items_v ON items USING hnsw_mmap (v);
SQL

# A reader is who has a transaction open in which it has scanned the index.
my $reader = $node->background_psql('postgres', on_error_stop => 0);

sub read_and_stay
{
	return $reader->query(<<SQL);
BEGIN;
SET LOCAL enable_seqscan = off;
SELECT count(*) FROM (SELECT 1 FROM items ORDER BY v <-> hm_test.vec(0, $dim) LIMIT 5) AS s;
SQL
}

# ---- Nobody merges ----

insert(3 * $bound);
is(stat_of('merges'), 0, 'a log of three times its bound that nobody reads is left for a worker to merge');
insert(2 * $bound);
cmp_ok(stat_of('merges'), '>=', 1, 'one of four times its bound is merged by who inserts');

$node->safe_psql('postgres', 'SELECT * FROM hnsw_mmap_merge(\'items_v\')');
my $merges = stat_of('merges');
insert($bound * 3 / 2);
is(stat_of('merges'), $merges, 'beyond its bound it waits for a worker');
like(read_and_stay(), qr/^5$/m, 'it is read');
insert(2 * $bound);
cmp_ok(stat_of('merges'), '>', $merges, 'and at twice its bound merged by who inserts, because it is read');
$reader->query('COMMIT');

# ---- Somebody merges ----

$node->safe_psql('postgres', <<SQL);
SET hnsw_mmap.background_merge = off;
INSERT INTO items SELECT i, hm_test.vec(i, $dim) FROM generate_series(-3 * $bound, -1) AS i;
SQL
inject($node, 'merge-read', 'pause');
my $merge = background($node, 'SELECT inserted > 0 FROM hnsw_mmap_merge(\'items_v\')');
ok(wait_paused($node, 'merge-read'), 'a process merges, and takes its time');

# A row takes 0.1 s more at this length of the log.
my $slow = "SET hnsw_mmap.insert_delay = '100ms';\n";
my ($rc, $out, $err) = insert(300, $slow . "SET statement_timeout = '15s';\n");
is($rc, 0, 'nobody is held back while nobody reads') or diag($err);

read_and_stay();
($rc, $out, $err) = insert(300, $slow . "SET statement_timeout = '2s';\n");
like($err, qr/57014: .*statement timeout/, 'who inserts is held back while the index is read, and can be cancelled');
my $held = background($node, $slow . "INSERT INTO items SELECT i, hm_test.vec(i, $dim) FROM generate_series(100001, 100040) AS i");
ok($node->poll_query_until('postgres',
		q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'INSERT%' AND wait_event_type = 'Extension'}),
	'which is to be seen');
($rc, $out, $err) = insert(300, "SET hnsw_mmap.insert_delay = 0;\nSET statement_timeout = '15s';\n");
is($rc, 0, 'not if insert_delay is 0') or diag($err);
($rc, $out, $err) = insert(300, "$slow SET hnsw_mmap.background_merge = off;\nSET statement_timeout = '15s';\n");
is($rc, 0, 'nor who has nothing to do with merges') or diag($err);
ok(finish_background($held), 'who was held back gets on') or diag($held->{err});

$reader->query('COMMIT');
($rc, $out, $err) = insert(300, $slow . "SET statement_timeout = '15s';\n");
is($rc, 0, 'nor anybody once the reader is gone') or diag($err);

release_point($node, 'merge-read');
ok(finish_background($merge), 'the merge ends') or diag($merge->{err});

# ---- What inserters see in each other ----

# Two of them at work at a long log, and how often a third process sees something.
sub sightings
{
	my ($settings, $rows, $what) = @_;
	my $others = q{SELECT FROM pg_stat_activity WHERE query LIKE 'DO%several%' AND pid <> pg_backend_pid() AND state = 'active'};
	my @writers = map {
		background($node, $settings . <<SQL)
DO \$\$
BEGIN
    FOR i IN 1 .. $rows LOOP
        INSERT INTO several VALUES (ARRAY[i, $_, 1, 1]);
    END LOOP;
END
\$\$
SQL
	} 1 .. 2;
	my $seen = $node->safe_psql('postgres', <<SQL);
CREATE TEMP TABLE sightings (n int);
DO \$\$
DECLARE
    n int := 0;
    late timestamptz := clock_timestamp() + '5s';
BEGIN
    WHILE clock_timestamp() < late AND NOT EXISTS ($others) LOOP
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
    WHILE EXISTS ($others) LOOP
        PERFORM $what;
        n := n + FOUND::int;
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
    INSERT INTO sightings VALUES (n);
END
\$\$;
SELECT n FROM sightings;
SQL
	is(finish_background($_), 1, 'an inserter among others') or diag($_->{err}) foreach @writers;
	return $seen;
}

$node->safe_psql('postgres', <<SQL);
CREATE TABLE several (v real[]);
CREATE INDEX several_v ON several USING hnsw_mmap (v);
SET hnsw_mmap.background_merge = off;
INSERT INTO several SELECT ARRAY[i, 0, 0, 0] FROM generate_series(1, 41000) AS i;
SQL
$reader->query(<<SQL);
BEGIN;
SET LOCAL enable_seqscan = off;
SELECT count(*) FROM (SELECT 1 FROM several ORDER BY v <-> '{0,0,0,0}' LIMIT 5) AS s;
SQL
is(sightings("SET hnsw_mmap.merge_log_entries = 40000;\n", 15000,
		"FROM pg_locks WHERE locktype = 'object' AND objid = 'several_v'::regclass"),
	0, 'who asks whether somebody merges is not taken for somebody who does');
$reader->query('COMMIT');
$reader->quit;

inject($node, 'merge-read', 'pause');
$merge = background($node, 'SELECT inserted > 0 FROM hnsw_mmap_merge(\'several_v\')');
ok(wait_paused($node, 'merge-read'), 'a process merges the other table');
is(sightings("SET hnsw_mmap.merge_log_entries = 5000;\nSET hnsw_mmap.insert_delay = '100ms';\n", 30000,
		"FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND query LIKE 'DO%several%'"),
	0, 'nor who inserts for somebody who reads');
release_point($node, 'merge-read');
ok(finish_background($merge), 'and merges it') or diag($merge->{err});

is(verdict($node, 'items', $dim), 'sound', 'the index is sound') or diag(verdict($node, 'items', $dim));
$node->stop;
done_testing();
