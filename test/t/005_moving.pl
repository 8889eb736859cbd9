# Indexes in use (HmWorn) that are dumped, backed up, moved or emptied, and are
# used and merged on (scenarios 12, 13, 16).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use HmWorn;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 16;
my $node = new_node('moving', "allow_in_place_tablespaces = on\nhnsw_mmap.background_merge = off\n", allows_streaming => 1, extra => ['--data-checksums']);

sub works
{
	my ($what, $table, $on, $database) = @_;

	is(sound($on // $node, $table, $dim, $database), 'sound', $what);
}

prepare_worn($node);
fill($node, 'items', $dim, 1, 3000);
$node->safe_psql('postgres', <<SQL);
INSERT INTO items (id) VALUES (5001), (5002);
CREATE INDEX items_v ON items USING hnsw_mmap (v) WITH (m = 12, ef_construction = 100);
CREATE INDEX items_partial ON items USING hnsw_mmap (v real_cosine_ops) WITH (vectors = fp16) WHERE n = 1;
CREATE INDEX items_expression ON items USING hnsw_mmap ((v::float2[])) WITH (vectors = 'fp16');
INSERT INTO items (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(3001, 3200) AS i;
DELETE FROM items WHERE id % 10 = 0;
VACUUM items;
CREATE UNLOGGED TABLE passing (id int, n int DEFAULT 0, v real[]);
CREATE INDEX passing_v ON passing USING hnsw_mmap (v);
INSERT INTO passing (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 500) AS i;
SELECT hnsw_mmap_merge('passing_v');
SQL
wear($node, 'items', $dim);
wear($node, 'passing', $dim);
works('at first', 'items');
works('at first, unlogged', 'passing');

# ---- pg_dump and restore ----

foreach my $format ('plain', 'custom')
{
	my $file = $node->basedir . "/dump.$format";
	my $copy = "restored_$format";

	$node->safe_psql('postgres', "CREATE DATABASE $copy TEMPLATE template0");
	$node->command_ok([ 'pg_dump', '--format', $format, '-f', $file, '-d', $node->connstr('postgres') ], "pg_dump, $format");
	if ($format eq 'plain')
	{
		$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr($copy) ], 'restored by psql');
	}
	else
	{
		$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $node->connstr($copy), $file ], 'restored by pg_restore');
	}
	works("restored, $format", 'items', $node, $copy);
	works("restored, $format, unlogged", 'passing', $node, $copy);
	my $definitions = "SELECT string_agg(indexdef, E'\\n' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'";
	is($node->safe_psql($copy, $definitions), $node->safe_psql('postgres', $definitions), "restored, $format: the same definitions");
}
like($node->safe_psql('postgres', "SELECT pg_get_indexdef('items_v'::regclass)"),
	qr/USING hnsw_mmap \(v\) WITH \(m='12', ef_construction='100'\)/, 'a definition as it was written');

# ---- DROP EXTENSION ----

my ($rc, $out, $err) = run_sql($node, 'DROP EXTENSION hnsw_mmap', 'restored_plain');
isnt($rc, 0, 'the extension cannot be dropped while indexes need it');
$node->safe_psql('restored_plain', 'DROP EXTENSION hnsw_mmap CASCADE');
is($node->safe_psql('restored_plain', "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw_mmap%'"), '0', 'CASCADE drops them');
is($node->safe_psql('restored_plain', 'SELECT count(*) FROM items'), $node->safe_psql('postgres', 'SELECT count(*) FROM items'), 'and no row');
$node->safe_psql('restored_plain', "CREATE EXTENSION hnsw_mmap; CREATE INDEX items_v ON items USING hnsw_mmap (v)");
works('extension created anew', 'items', $node, 'restored_plain');
goes_on('extension created anew', $node, 'items', $dim, 'restored_plain');

# ---- base backup, with page checksums verified ----

$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', "INSERT INTO items (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(3301, 3400) AS i");
$node->backup('backup');
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'backup');
$restored->start;
works('base backup', 'items', $restored);
is_worn($restored, 'items');
goes_on('base backup', $restored, 'items', $dim);
is($restored->safe_psql('postgres', 'SELECT count(*) FROM passing'), '0', 'base backup: the unlogged table is empty');
is(complete($restored, 'passing', $dim), 't', 'base backup: its index answers');
$restored->stop;

# ---- page checksums: every page is a valid one ----

$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'pg_checksums accepts every page');
$node->start;
works('after a restart', 'items');
works('after a restart, unlogged', 'passing');

# ---- SET TABLESPACE, CLUSTER ----

$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION ''");
$node->safe_psql('postgres', 'ALTER INDEX items_v SET TABLESPACE elsewhere');
works('index moved', 'items');
is_worn($node, 'items');
$node->safe_psql('postgres', 'ALTER TABLE items SET TABLESPACE elsewhere');
works('table moved', 'items');
kill_server($node);
$node->start;
works('moved, after a crash', 'items');
goes_on('moved', $node, 'items', $dim);
$node->safe_psql('postgres', 'BEGIN; ALTER INDEX items_v SET TABLESPACE pg_default; ' . live('items', $dim, 50)
	  . "SELECT hnsw_mmap_merge('items_v'); " . verdict_of('items', $dim) . 'ROLLBACK');
works('move rolled back', 'items');
wear($node, 'items', $dim);
$node->safe_psql('postgres', 'CLUSTER items USING items_pkey');
works('clustered', 'items');
wear($node, 'items', $dim);
$node->safe_psql('postgres', 'ALTER DATABASE restored_custom SET TABLESPACE elsewhere');
works('database moved', 'items', $node, 'restored_custom');
wear($node, 'items', $dim, 'restored_custom');

# ---- unlogged after a crash ----

$node->safe_psql('postgres', "INSERT INTO passing (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 500) AS i; SELECT hnsw_mmap_merge('passing_v')");
wear($node, 'passing', $dim);
works('unlogged', 'passing');
kill_server($node);
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM passing'), '0', 'unlogged, after a crash: empty');
is(complete($node, 'passing', $dim), 't', 'unlogged, after a crash: the index answers');
$node->safe_psql('postgres', "INSERT INTO passing (id, v) SELECT i, hm_test.vec(i, 5) FROM generate_series(1, 300) AS i");
is(sound($node, 'passing', 5), 'sound', 'unlogged, after a crash: in use again, with another dimension');
goes_on('unlogged, after a crash', $node, 'passing', 5);
$node->restart;
is(sound($node, 'passing', 5), 'sound', 'unlogged, after a clean restart: still there');

# ---- other tools that read every page ----

foreach my $extension ('pg_prewarm', 'pageinspect', 'amcheck', 'pgstattuple')
{
	my $available = $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = '$extension'");
  SKIP:
	{
		skip "no $extension here", 1 unless $available;
		$node->safe_psql('postgres', "CREATE EXTENSION $extension");
		if ($extension eq 'pg_prewarm')
		{
			is($node->safe_psql('postgres', "SELECT pg_prewarm('items_v') * 8192 = pg_relation_size('items_v')"), 't', 'pg_prewarm reads every page');
		}
		elsif ($extension eq 'pageinspect')
		{
			# Holes are left out of images in the log: only pages of the index's own log have one.
			is($node->safe_psql('postgres', <<SQL), 't', 'no page has a hole that holds anything');
SELECT bool_and(lower = upper AND upper = special OR upper = special AND upper = 8192 AND substr(page, lower + 1) = substr(zeros, lower + 1))
  FROM generate_series(0, pg_relation_size('items_v') / 8192 - 1) AS b, get_raw_page('items_v', b::int) AS page, page_header(page),
       decode(repeat('00', 8192), 'hex') AS zeros
 WHERE page <> zeros
SQL
		}
		elsif ($extension eq 'amcheck')
		{
			is($node->safe_psql('postgres', "SELECT count(*) FROM verify_heapam('items')"), '0', 'the table is as it should be');
		}
		else
		{
			($rc, $out, $err) = run_sql($node, "SELECT * FROM pgstattuple('items_v')");
			like($err, qr/ERROR:  0A000/, 'pgstattuple knows no hnsw_mmap, and says so');
		}
	}
}
works('at last', 'items');

# ---- pg_upgrade, to a new cluster of the same version ----

$node->stop;
my $new = PostgreSQL::Test::Cluster->new('upgraded');
$new->init(extra => ['--data-checksums']);
chdir $node->basedir or die $!;
# Tablespaces inside the data directory cannot be upgraded: leave them first.
$node->start;
$node->safe_psql('postgres', 'ALTER TABLE items SET TABLESPACE pg_default; ALTER INDEX items_v SET TABLESPACE pg_default');
$node->safe_psql('postgres', 'ALTER DATABASE restored_custom SET TABLESPACE pg_default');
$node->safe_psql('postgres', 'DROP TABLESPACE elsewhere');
$node->stop;
my $bin = $node->config_data('--bindir');
command_ok(
	[ 'pg_upgrade', '--no-sync', '-d', $node->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin,
		'-s', $node->host, '-p', $node->port, '-P', $new->port, '-U', scalar(getpwuid($<)) ],
	'pg_upgrade');
$new->start;
works('upgraded', 'items', $new);
works('upgraded, another database', 'items', $new, 'restored_custom');
is_worn($new, 'items', 'restored_custom');
goes_on('upgraded', $new, 'items', $dim);
goes_on('upgraded, another database', $new, 'items', $dim, 'restored_custom');
$new->stop;

done_testing();
