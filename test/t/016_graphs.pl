# Graphs of hnswlib and hnswlib-mmap become indexes, and back: with the real hnswlib
# where Python has it, else with graphs and searches of graph_tool.py, which reads
# and writes the formats by itself.  An index from a graph answers with the
# library's own recall; what is exported does so in the library, or in that search.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tool = "$FindBin::RealBin/graph_tool.py";
my ($python, $library);
foreach my $candidate ('/usr/bin/python3', 'python3')
{
	my ($out, $err) = ('', '');
	next unless eval { IPC::Run::run([ $candidate, $tool, 'probe' ], '>', \$out, '2>', \$err) };
	chomp $out;
	($python, $library) = ($candidate, $out) if !$python || $out eq 'hnswlib';
}
plan skip_all => 'needs Python with numpy' unless $python;
note("graphs by $library");

my ($n, $dim, $m, $ef) = (1800, 24, 8, 80);
my ($half, $quarter, $most) = ($n / 2, $n / 4, 2 * $n / 3);
my %opclass = (l2 => 'real_l2_ops', ip => 'real_ip_ops', cosine => 'real_cosine_ops');
my %operator = (l2 => '<->', ip => '<#>', cosine => '<=>');
my $node = new_node('graphs', "hnsw_mmap.background_merge = off\n");
my $dir = $node->basedir;

# tool(ARGUMENTS): what graph_tool.py prints, or 'failed: ...'.
sub tool
{
	my ($out, $err) = ('', '');

	IPC::Run::run([ $python, $tool, @_ ], '>', \$out, '2>', \$err) or return "failed: $err";
	chomp $out;
	return $out;
}

# recall(TABLE, SPACE): of the index that the table has, over the queries.
sub recall
{
	my ($table, $space) = @_;

	return $node->safe_psql('postgres', <<SQL);
SET hnsw_mmap.ef_search = $ef;
SET enable_seqscan = off;
SET enable_sort = off;
WITH found AS MATERIALIZED (
	SELECT q.id AS query, ARRAY(SELECT t.id FROM $table AS t ORDER BY t.v $operator{$space} q.v LIMIT 10) AS ids FROM queries_$space AS q)
SELECT (sum((SELECT count(*) FROM unnest(f.ids) AS i WHERE i = ANY (e.ids))) / (10.0 * count(*)))::numeric(5, 4)
  FROM found AS f JOIN exact_$space AS e USING (query)
SQL
}

# like_library(GOT, WANTED, WHAT): no more than five points below.
sub like_library
{
	my ($got, $wanted, $what) = @_;

	ok($got =~ /^[\d.]+$/ && $wanted =~ /^[\d.]+$/ && $got >= $wanted - 0.05, "$what: recall")
	  or diag("$what: $got, and the library $wanted");
	note("$what: $got; the library $wanted");
}

sub import_graph
{
	my ($path, $table, $space, $more) = @_;
	my ($rc, $out, $err) = run_sql($node,
		"SELECT hnsw_mmap_import_graph('$path', '$table', 'v', '$opclass{$space}', '${table}_v'" . ($more // ", 'id'") . ")");

	return $rc == 0 ? $out . $err : "failed: $err";
}

sub sound
{
	my ($table, $what) = @_;
	my ($rc, $out, $err) = run_sql($node, "SELECT elements, unreachable FROM hnsw_mmap_check('${table}_v', true)");

	like($out . $err, qr/^\d+\|0$/, "$what: sound");
	return (split /\|/, $out)[0];
}

foreach my $space ('l2', 'ip', 'cosine')
{
	my $files = "$dir/$space";
	my $made = tool('make', $files, $space, $n, $dim, $m);
	my $wanted = tool('recall', $files, $space, $ef);

	is($made, '', "$space: a graph by $library");
	$node->safe_psql('postgres', <<SQL);
CREATE TABLE t_$space (id bigint PRIMARY KEY, v real[]);
COPY t_$space FROM '$files/vectors.txt';
CREATE TABLE queries_$space (id bigint, v real[]);
COPY queries_$space FROM '$files/queries.txt';
CREATE TABLE exact_$space AS
SELECT q.id AS query, ARRAY(SELECT t.id FROM t_$space AS t ORDER BY t.v $operator{$space} q.v LIMIT 10) AS ids FROM queries_$space AS q;
SQL

	foreach my $file ('library.index', 'library.graph')
	{
		like(import_graph("$files/$file", "t_$space", $space), qr/t_${space}_v.*has $n of the graph's $n elements.*\n.* 0 elements were inserted/s,
			"$space, $file: imported");
		is(sound("t_$space", "$space, $file"), $n, "$space, $file: every row");
		like_library(recall("t_$space", $space), $wanted, "$space, $file");
		$node->safe_psql('postgres', "DROP INDEX t_${space}_v") if $file eq 'library.index';
	}

	# and back, in both formats
	foreach my $format ('hnswlib', 'hnswlib-mmap')
	{
		my $path = "$files/back.$format";

		is($node->safe_psql('postgres', "SELECT elements, dropped, unlisted FROM hnsw_mmap_export_graph('t_${space}_v', '$path', 'id', '$format')"),
			"$n|0|0", "$space, $format: exported");
		like_library(tool('check', $path, $files, $space, $ef), $wanted, "$space, $format: exported");
	}

	# Of another metric.  Where Euclidean and cosine distance agree nearly always on
	# who is nearest, nothing can tell a graph of one from a graph of the other.
	foreach my $other (grep { $_ ne $space } 'l2', 'ip', 'cosine')
	{
		my ($rc, $out, $err) = run_sql($node,
			"SELECT hnsw_mmap_import_graph('$files/library.graph', 't_$space', 'v', '$opclass{$other}', 't_${space}_other', 'id')");

		like($err, qr/ERROR:  22000: graph file .* does not look like a graph of these vectors/, "$space as $other: refused")
		  if $space eq 'ip' || $other eq 'ip';
		$node->safe_psql('postgres', "DROP INDEX IF EXISTS t_${space}_other");
	}
	like(import_graph("$files/library.graph", "t_$space", $space), qr/ERROR:  42P07: /, "$space: a name that is taken");
}

# ---- rows and elements that do not go together ----

my $files = "$dir/l2";
my $wanted = tool('recall', $files, 'l2', $ef);
$node->safe_psql('postgres', <<SQL);
DROP INDEX t_l2_v;
CREATE TABLE part AS SELECT id, v FROM t_l2 WHERE id % 3 <> 0;
INSERT INTO part SELECT id + 100000, v FROM t_l2 WHERE id % 3 = 0;
INSERT INTO part SELECT id, v FROM t_l2 WHERE id % 10 = 1 AND id % 3 <> 0;
INSERT INTO part SELECT -1, NULL;
SQL
my $third = $node->safe_psql('postgres', 'SELECT count(*) FROM t_l2 WHERE id % 3 = 0');
like(import_graph("$files/library.graph", 'part', 'l2'),
	qr/has @{[ $n - $third ]} of the graph's $n elements.*\n.* $third elements were inserted/s, 'a third has other labels: imported');
is(sound('part', 'a third has other labels'), $n, 'a third has other labels: every vector once');
is($node->safe_psql('postgres', "SELECT rows, unrankable FROM hnsw_mmap_stats('part_v')"),
	$node->safe_psql('postgres', 'SELECT count(*), count(*) - count(v) FROM part'), 'a third has other labels: every row');

$node->safe_psql('postgres', 'CREATE TABLE fewer AS SELECT * FROM t_l2 WHERE id % 2 = 0');
$node->safe_psql('postgres', "CREATE TABLE exact_fewer AS SELECT q.id AS query, ARRAY(SELECT t.id FROM fewer AS t ORDER BY t.v <-> q.v LIMIT 10) AS ids FROM queries_l2 AS q");
like(import_graph("$files/library.graph", 'fewer', 'l2'), qr/has $half of the graph's $n elements.*\n.* 0 elements were inserted/s,
	'half of the rows are gone: imported');
is(sound('fewer', 'half of the rows are gone'), $half, 'half of the rows are gone: every row');
$node->safe_psql('postgres', 'ALTER TABLE exact_l2 RENAME TO exact_all; ALTER TABLE exact_fewer RENAME TO exact_l2');
like_library(recall('fewer', 'l2'), $wanted, 'half of the rows are gone');
$node->safe_psql('postgres', 'ALTER TABLE exact_l2 RENAME TO exact_fewer; ALTER TABLE exact_all RENAME TO exact_l2');

# Elements that no row is left of go, and so do those that only an old snapshot sees.
$node->safe_psql('postgres', 'DELETE FROM fewer WHERE id % 4 = 0');
is($node->safe_psql('postgres', "SELECT elements, dropped FROM hnsw_mmap_export_graph('fewer_v', '$files/fewer', 'id')"),
	"$quarter|$quarter", 'deleted rows are not exported');
unlike(tool('check', "$files/fewer", $files, 'l2', $ef), qr/failed/, 'deleted rows are not exported: a sound file');

# An index of several parts, with replaced lists and tombstones.
$node->safe_psql('postgres', <<SQL);
CREATE TABLE grown AS SELECT * FROM t_l2 WHERE id < $n - 60;
CREATE INDEX grown_v ON grown USING hnsw_mmap (v) WITH (m = $m);
INSERT INTO grown SELECT * FROM t_l2 WHERE id >= $n - 60;
SELECT hnsw_mmap_merge('grown_v');
DELETE FROM grown WHERE id % 20 = 0;
SQL
$node->safe_psql('postgres', 'VACUUM grown');
my $left = $node->safe_psql('postgres', 'SELECT count(*) FROM grown');
like($node->safe_psql('postgres', "SELECT parts, patches > 0, tombstones FROM hnsw_mmap_stats('grown_v')"), qr/^[2-9]\|t\|@{[ $n - $left ]}$/,
	'several parts: what there is');
is($node->safe_psql('postgres', "SELECT elements, dropped FROM hnsw_mmap_export_graph('grown_v', '$files/grown', 'id')"), "$left|@{[ $n - $left ]}",
	'several parts: exported');
# One of twenty neighbours is not there to be found.
like_library(tool('check', "$files/grown", $files, 'l2', $ef), $wanted - 0.05, 'several parts: exported');

# Marked as deleted in the file: the rows are inserted.
$node->safe_psql('postgres', 'CREATE TABLE marked AS SELECT * FROM t_l2');
like(import_graph("$files/deleted.graph", 'marked', 'l2'),
	qr/has @{[ $n - $quarter ]} of the graph's $n elements.*\n.* $quarter elements were inserted/s, 'deleted marks: imported');
is(sound('marked', 'deleted marks'), $n, 'deleted marks: every row');
like_library(recall('marked', 'l2'), $wanted, 'deleted marks');

# A sharded index, by several processes: the larger shard is taken, the other inserted.
$node->safe_psql('postgres', 'CREATE TABLE sharded AS SELECT * FROM t_l2; ALTER TABLE sharded SET (parallel_workers = 2)');
like(import_graph("$files/shards", 'sharded', 'l2'), qr/shard 0 of 2.*has $most of the graph's $most elements/s, 'sharded: imported');
is(sound('sharded', 'sharded'), $n, 'sharded: every row');
like_library(recall('sharded', 'l2'), $wanted, 'sharded');
like(import_graph("$files/shards", 't_l2', 'ip'), qr/is of space "l2", not "ip"/, 'sharded: the metric is known');

# ---- vectors ----

foreach my $dtype ('f2', 'f4')
{
	is($node->safe_psql('postgres', "SELECT * FROM hnsw_mmap_export_vectors('t_l2', 'v', '$files/$dtype.npy', dtype => '$dtype')"),
		"$n|$dim", "vectors exported as $dtype");
	is(tool('npy', "$files/$dtype.npy", $files, $dtype), 'same', "numpy reads them");
}

# ---- damaged files: an error, and no index ----

my $graph = slurp_file("$files/library.graph");
foreach my $round (1 .. 16)
{
	my $bytes = $graph;
	if ($round % 4 == 0) { $bytes = substr($bytes, 0, choose(length $bytes)) }
	else
	{
		# numbers where numbers are
		my $at = choose(2) ? choose(76) : choose(length($bytes) - 4);
		substr($bytes, $at, 4) = pack('L', (0, 1, 0xFFFFFFFF, 0x7FFFFFFF, $n, choose(2**32))[ choose(6) ]);
	}
	unlink "$files/damaged";
	append_to_file("$files/damaged", $bytes);
	my $result = import_graph("$files/damaged", 't_l2', 'l2');
	# Many a byte has no meaning.
	like($result, qr/^failed: .*ERROR:  (22P03|22000|42804|22023|42P17)|t_l2_v/s, "damaged, round $round: an error, or none");
	next if $result =~ /^failed/;
	sound('t_l2', "damaged, round $round");
	$node->safe_psql('postgres', 'DROP INDEX t_l2_v');
}
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_index WHERE indrelid = 't_l2'::regclass"), '1', 'no index is left');

# ---- nothing is left of an export that ends early ----

# One row takes for ever; as the function says that it is stable, the view is an
# index scan of the table, and rows come one by one.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION slow(id bigint, v real[]) RETURNS real[] LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF id = 1000 THEN
		PERFORM pg_sleep(600);
	END IF;
	RETURN v;
END
$$;
CREATE VIEW endless AS SELECT id, slow(id, v) AS v FROM t_l2;
SQL
foreach my $how ('pg_cancel_backend', 'pg_terminate_backend')
{
	my $run = background($node, <<SQL);
SET application_name = 'exporter';
SET enable_sort = off;
SET enable_seqscan = off;
SELECT * FROM hnsw_mmap_export_vectors('endless', 'v', '$files/endless', 'id');
SQL

	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_progress_copy WHERE command = 'COPY TO' AND tuples_processed > 0")
	  or diag('no progress is shown');
	ok(-e "$files/endless", "$how: the file is there");
	$node->safe_psql('postgres', "SELECT $how(pid) FROM pg_stat_activity WHERE application_name = 'exporter'");
	ok(!finish_background($run), "$how: an error");
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'exporter'");
	ok(!-e "$files/endless", "$how: the file is gone");
}

# A full disk.
SKIP:
{
	skip 'no /dev/full', 1 unless -c '/dev/full';
	my ($rc, $out, $err) = run_sql($node, "SELECT hnsw_mmap_export_vectors('t_l2', 'v', '/dev/full')");
	like($err, qr/File exists/, 'a device is not written to');
}

is(server_crashed($node), 0, 'no process died');
$node->stop;
done_testing();
