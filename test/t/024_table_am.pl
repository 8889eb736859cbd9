# A table access method other than heap (test/modules/hm_tableam): an index with
# copies of its own does everything, one that would read the table's files is
# refused.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 8;
my $node = new_node('tableam');

$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION hm_tableam;
CREATE TABLE items (id int PRIMARY KEY, v real[]) USING hm_tableam;
INSERT INTO items SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 2000) AS i;
SQL

my ($rc, $out, $err) = run_sql($node, 'CREATE INDEX ON items USING hnsw_mmap (v)');
isnt($rc, 0, 'an index that reads the table is refused');
like($err, qr/cannot read vectors from table "items", whose access method is not "heap"/, 'and why');
like($err, qr/HINT: .*vectors = 'fp16'/, 'and what to do');

sub agree
{
	my ($what) = @_;

	is($node->safe_psql('postgres', "SELECT hm_test.mismatches('items', 'v', '$_', $dim)"), 0, "$what, $_: the nearest rows")
	  foreach '<->', '<#>';
	is($node->safe_psql('postgres', <<SQL), 't', "$what: every row");
SELECT hm_test.exact_ids('items', d) = hm_test.indexed_ids('items', d) FROM hm_test.distance('v', '<->', hm_test.vec(0, $dim)) AS d
SQL
	is($node->safe_psql('postgres', "SELECT table_rows = (SELECT count(*) FROM items) FROM hnsw_mmap_check('$_', full => true)"),
		't', "$what: $_ is sound")
	  foreach 'items_l2', 'items_ip';
}

$node->safe_psql('postgres', <<SQL);
CREATE INDEX items_l2 ON items USING hnsw_mmap (v) WITH (vectors = 'fp16');
CREATE INDEX items_ip ON items USING hnsw_mmap (v real_ip_ops) WITH (vectors = 'fp16');
SQL
agree('built');
$node->safe_psql('postgres', <<SQL);
SET hnsw_mmap.background_merge = off;
INSERT INTO items SELECT i, hm_test.vec(i, $dim) FROM generate_series(2001, 3000) AS i;
DELETE FROM items WHERE id % 7 = 0;
UPDATE items SET v = hm_test.vec(-id, $dim) WHERE id % 11 = 0;
SQL
agree('changed');
$node->safe_psql('postgres', 'VACUUM items');
agree('vacuumed');
$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('$_', full => true)") foreach 'items_l2', 'items_ip';
agree('merged');
$node->safe_psql('postgres', 'REINDEX TABLE CONCURRENTLY items');
agree('built anew');
# Without a sample the first live vector decides on the scale of copies, not a
# deleted one before it, which the build meets as its transaction is not over.
$node->safe_psql('postgres', <<SQL);
CREATE TABLE odd (id int PRIMARY KEY, v real[]) USING hm_tableam;
INSERT INTO odd VALUES (0, array_fill(8e8::real, '{$dim}'));
INSERT INTO odd SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 1000) AS i;
BEGIN;
DELETE FROM odd WHERE id = 0;
CREATE INDEX odd_v ON odd USING hnsw_mmap (v) WITH (vectors = 'fp16');
COMMIT;
SQL
is($node->safe_psql('postgres', "SELECT hm_test.mismatches('odd', 'v', '<->', $dim)"), 0, 'a deleted row decides on no scale');
is($node->safe_psql('postgres', "SELECT elements, rows FROM hnsw_mmap_check('odd_v', full => true)"), '1000|1001', 'but is kept');
ok(!server_crashed($node), 'the server never crashed');
$node->stop;

done_testing();
