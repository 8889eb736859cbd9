# The bridge to pgvector in a server's life: the extension in other schemas, merges
# by the background worker, crash, dump, standby; and a real client.  What the
# answers are is tested in test/pgvector.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $dim = 32;
my $node = new_node('pgvector', "hnsw_mmap.background_merge = on\nhnsw_mmap.merge_log_entries = 100\n", allows_streaming => 1);

plan skip_all => 'this PostgreSQL has no extension vector (pgvector)'
  unless $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'");

# error(DATABASE, SQL): the SQLSTATE and message of a statement that fails.
sub error
{
	my ($rc, $out, $err) = run_sql($node, $_[1], $_[0]);

	return $err =~ /ERROR:\s+(.*)/ ? $1 : "none: $out$err";
}

# ---- where extensions may lie ----

# pgvector in a schema of its own, which is on nobody's search path.
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere TEMPLATE template0');
$node->safe_psql('elsewhere', <<SQL);
CREATE SCHEMA ext;
CREATE EXTENSION hnsw_mmap_pgvector SCHEMA ext CASCADE;
CREATE TABLE items (id int, v ext.vector(3), h ext.halfvec(3));
INSERT INTO items SELECT i, x, x FROM generate_series(1, 500) AS i, LATERAL (SELECT ARRAY[i, i % 7, 1]::real[] AS x) AS s;
CREATE INDEX items_v ON items USING hnsw_mmap (v ext.vector_cosine_ops);
CREATE INDEX items_h ON items USING hnsw_mmap (h ext.halfvec_l2_ops);
SQL
my $nearest = "SET enable_seqscan = off; SELECT id FROM items ORDER BY h OPERATOR(ext.<->) '[250,5,1]' LIMIT 1";
is($node->safe_psql('elsewhere', $nearest), 250, 'in a schema that is not on the search path');
like($node->safe_psql('elsewhere', "SET enable_seqscan = off; EXPLAIN SELECT id FROM items ORDER BY v OPERATOR(ext.<=>) '[250,5,1]' LIMIT 1"),
	qr/Index Scan using items_v/, 'the index is used there');
$node->safe_psql('elsewhere', 'CREATE SCHEMA other; ALTER EXTENSION hnsw_mmap_pgvector SET SCHEMA other');
is($node->safe_psql('elsewhere', $nearest), 250, 'the bridge in another schema than pgvector');
$node->safe_psql('elsewhere', 'REINDEX TABLE items');
like(error('elsewhere', 'DROP EXTENSION vector'), qr/^2BP01: cannot drop extension vector because other objects depend on it/,
	'pgvector is not dropped while the bridge needs it');
$node->safe_psql('elsewhere', 'SET client_min_messages = error; DROP EXTENSION hnsw_mmap_pgvector CASCADE');
is($node->safe_psql('elsewhere', 'SELECT count(*), count(v), count(h) FROM items'), '500|500|500', 'without the bridge the vectors are where they were');
is($node->safe_psql('elsewhere', "SELECT count(*) FROM pg_index WHERE indrelid = 'items'::regclass"), 0, 'its indexes are gone');

# A type of somebody else that is found before pgvector's must not be taken for it.
$node->safe_psql('postgres', 'CREATE DATABASE strangers TEMPLATE template0');
$node->safe_psql('strangers', <<SQL);
CREATE SCHEMA ext;
CREATE EXTENSION vector SCHEMA ext;
CREATE EXTENSION hnsw_mmap SCHEMA ext;
CREATE TYPE vector AS ENUM ('a');
CREATE FUNCTION distance(vector, vector) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT 0.0::float8';
CREATE OPERATOR <-> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = distance);
CREATE OPERATOR <#> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = distance);
CREATE OPERATOR <=> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = distance);
SQL
like(error('strangers', 'CREATE EXTENSION hnsw_mmap_pgvector'), qr/^42P17: operator .*\(vector,vector\) does not belong to the extension vector/,
	'a stranger by the name of vector is refused');
$node->safe_psql('strangers', 'CREATE EXTENSION hnsw_mmap_pgvector SCHEMA ext');
pass('but does not keep the bridge from another schema');

# ---- a table in use ----

$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION hnsw_mmap_pgvector CASCADE;
CREATE TABLE items (id int PRIMARY KEY, v vector($dim), h halfvec($dim));
INSERT INTO items SELECT i, x, x FROM generate_series(1, 1500) AS i, hm_test.vec(i, $dim) AS x;
CREATE INDEX items_v ON items USING hnsw_mmap (v vector_cosine_ops);
CREATE INDEX items_h ON items USING hnsw_mmap (h halfvec_l2_ops) WITH (vectors = 'fp16');
-- hm_test asks the index of hnsw_mmap; this one is there to be dumped and replayed beside it.
CREATE TABLE twice (id int PRIMARY KEY, v vector($dim));
INSERT INTO twice SELECT id, v FROM items WHERE id <= 200;
CREATE INDEX twice_ours ON twice USING hnsw_mmap (v vector_l2_ops);
CREATE INDEX twice_theirs ON twice USING hnsw (v vector_l2_ops);
SQL

# Distances through both indexes are those of a sequential scan.
sub same
{
	my ($what, $server, $database) = @_;
	my ($rc, $out, $err) = run_sql($server, <<SQL, $database);
SET hnsw_mmap.ef_search = 400;
SELECT hm_test.mismatches('items', 'v', '<=>', $dim, 10, 10, 'true', 'real[]::vector'),
       hm_test.mismatches('items', 'h', '<->', $dim, 10, 10, 'true', 'real[]::halfvec');
SQL
	is($rc == 0 ? $out : $err, '0|0', $what);
}

same('after the build', $node, 'postgres');
$node->safe_psql('postgres', <<SQL);
INSERT INTO items SELECT i, x, x FROM generate_series(1501, 2500) AS i, hm_test.vec(i, $dim) AS x;
DELETE FROM items WHERE id % 11 = 0;
UPDATE items SET v = h WHERE id % 13 = 0;
SQL
same('after inserts, deletes and updates', $node, 'postgres');
# Who inserts asks for a worker; so does VACUUM, for as long as it takes.
my $log = "SELECT max(log_entries) < 100 FROM (VALUES ('items_v'::regclass), ('items_h')) AS i (i), hnsw_mmap_stats(i)";
my $end = time + $PostgreSQL::Test::Utils::timeout_default;
until ($node->safe_psql('postgres', $log) eq 't' || time > $end)
{
	$node->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP ON) items');
	sleep 0.2;
}
is($node->safe_psql('postgres', $log), 't', 'a background worker merged');
same('after merges', $node, 'postgres');

kill_server($node);
$node->start;
same('after a crash', $node, 'postgres');

my $file = $node->basedir . '/dump.sql';
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_dump', '-f', $file, '-d', $node->connstr('postgres') ], 'pg_dump');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr('restored') ], 'restored');
my $definitions = "SELECT string_agg(indexdef, E'\\n' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'";
is($node->safe_psql('restored', $definitions), $node->safe_psql('postgres', $definitions), 'restored: the same definitions');
same('restored', $node, 'restored');

# ---- to files, and back ----

my ($npy, $graph) = map { $node->basedir . "/$_" } ('v.npy', 'v.graph');
$node->safe_psql('postgres', "SELECT hnsw_mmap_export_vectors('twice', 'v', '$npy', dtype => 'f4')");
$node->safe_psql('postgres', "SELECT hnsw_mmap_attach('v', '$npy')");
is($node->safe_psql('postgres', "SELECT count(*), max(v <-> hnsw_mmap_extvec('v', id - 1)::real[]::vector) FROM twice"), '200|0',
	'vectors are written to a file, which can be attached');
$node->safe_psql('postgres', "SELECT hnsw_mmap_export_graph('twice_ours', '$graph', label_column => 'id')");
$node->safe_psql('postgres', "SELECT hnsw_mmap_import_graph('$graph', 'twice', 'v', label_column => 'id', index_name => 'twice_imported')");
is($node->safe_psql('postgres', "SELECT elements, table_rows FROM hnsw_mmap_check('twice_imported', true)"), '200|200',
	'a graph is written, and becomes an index of the column again');

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', "INSERT INTO items SELECT i, x, x FROM generate_series(3001, 3300) AS i, hm_test.vec(i, $dim) AS x");
$node->wait_for_catchup($standby);
same('on a standby', $standby, 'postgres');
$standby->stop;

# ---- psycopg and the pgvector package ----

SKIP:
{
	my $python = $ENV{HM_CLIENT_PYTHON} || 'python3';
	my ($out, $err) = ('', '');

	skip "$python has no psycopg 3 and pgvector", 1
	  unless IPC::Run::run([ $python, '-c', 'import psycopg, pgvector.psycopg; from pgvector import HalfVector' ], '>', \$out, '2>', \$err);
	my $right = IPC::Run::run([ $python, '-B', $FindBin::RealBin . '/../clients/psycopg_pgvector.py', $node->connstr('postgres') ],
		'>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	ok($right, 'the client got to its end') or diag($err);
	foreach my $line (split /\n/, $out)
	{
		ok($1 eq 'ok', "psycopg: $2") if $line =~ /^(ok|not ok) - (.*)/;
	}
}

ok(!server_crashed($node), 'the server never crashed by itself');
done_testing();
