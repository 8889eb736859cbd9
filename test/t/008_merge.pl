# Merging, as a user sees it: what hnsw_mmap_merge says and leaves, recall, rows
# that share a vector, dead rows, the size of the file under turnover; in either
# mode, by several metrics, with large vectors, in unlogged and temporary tables
# (scenarios 4, 8, 10).  hnsw_mmap_check(full) is asked after each step.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_node('merge', "hnsw_mmap.background_merge = off\n");

# Share of the ten nearest that a search with ef_search = 40 finds; distances are
# compared, as several rows may be equally near.
$node->safe_psql('postgres', <<SQL);
CREATE FUNCTION recall(relation regclass, operator text, dim int) RETURNS float8
LANGUAGE sql SET hnsw_mmap.ef_search = 40 AS \$\$
    SELECT avg((SELECT count(*) FROM unnest(hm_test.indexed(relation, d, 10)) AS i WHERE i <= (hm_test.exact(relation, d, 10))[10])) / 10
      FROM generate_series(1, 50) AS q, hm_test.distance('v', operator, hm_test.vec(2000000 + q, dim)) AS d
\$\$;
SQL

sub sql { return $node->safe_psql('postgres', join(";\n", @_)); }

# merge(TABLE, FULL): what hnsw_mmap_merge says, by name.
sub merge
{
	my ($table, $full) = @_;
	my @names = qw(log_entries inserted duplicates dropped repaired linked parts_folded blocks_written distances);
	my @values = split /\|/, sql('SELECT ' . join(', ', @names) . " FROM hnsw_mmap_merge('${table}_v', " . ($full ? 'true' : 'false') . ')');
	my %report;

	@report{@names} = @values;
	return \%report;
}

# figures(TABLE): what hnsw_mmap_check says, by name.
sub figures
{
	my ($table) = @_;
	my @names = qw(elements live_elements rows dead_rows log_entries log_live parts patches unreachable blocks_total
	  blocks_metapage blocks_parts blocks_tombstones blocks_log blocks_free blocks_retired blocks_lost);
	my @values = split /\|/, sql('SELECT ' . join(', ', @names) . " FROM hnsw_mmap_check('${table}_v')");
	my %figures;

	@figures{@names} = @values;
	return \%figures;
}

# Blocks that hold something.
sub live_blocks
{
	my ($figures) = @_;

	return $figures->{blocks_metapage} + $figures->{blocks_parts} + $figures->{blocks_tombstones} + $figures->{blocks_log};
}

sub rows { return sql("SELECT count(*) FROM $_[0]"); }

# table(NAME, DIM, ROWS, INDEX): the index takes (v OPCLASS) WITH (OPTIONS).
sub table
{
	my ($name, $dim, $rows, $index) = @_;

	sql("DROP TABLE IF EXISTS $name");
	fill($node, $name, $dim, 1, $rows);
	sql("CREATE INDEX ${name}_v ON $name USING hnsw_mmap $index");
}

my $start = time;

sub lap
{
	note(sprintf('%s: %.1f s', $_[0], time - $start));
	$start = time;
}

# ---- The log becomes part of the graph, by each metric and in each mode ----

foreach my $case (
	[ 'heap', '<->', "(v) WITH (m = 8)" ],
	[ 'fp16', '<->', "(v) WITH (m = 8, vectors = 'fp16')" ],
	[ 'cosine_heap', '<=>', "(v real_cosine_ops) WITH (m = 8)" ],
	[ 'cosine', '<=>', "(v real_cosine_ops) WITH (m = 8, vectors = 'fp16')" ],
	[ 'product', '<#>', "(v real_ip_ops) WITH (m = 8, vectors = 'fp16')" ])
{
	my ($what, $operator, $index) = @$case;
	my $dim = 16;

	table('items', $dim, 1000, $index);
	fill($node, 'items', $dim, 1001, 1300);
	is(figures('items')->{log_live}, 300, "$what: inserted rows are in the log");
	my $report = merge('items');
	is("$report->{log_entries} $report->{inserted} $report->{duplicates} $report->{dropped}", '300 300 0 0', "$what: all of it is merged");
	my $figures = figures('items');
	is("$figures->{elements} $figures->{log_entries}", '1300 0', "$what: elements now, and the log is empty");
	is(verdict($node, 'items', $dim, $operator, 1), 'sound', "$what: sound");
	$report = merge('items');
	is(join(' ', map { $report->{$_} } qw(log_entries inserted blocks_written distances)), '0 0 0 0', "$what: another merge finds nothing to do");

	# Many small merges: recall stays what a build gives.
	for my $i (0 .. 9)
	{
		fill($node, 'items', $dim, 1301 + 50 * $i, 1350 + 50 * $i);
		merge('items');
	}
	is(verdict($node, 'items', $dim, $operator, 1), 'sound', "$what: sound after ten more");
	cmp_ok(figures('items')->{parts}, '<=', 6, "$what: few parts");
	my $recall = sql("SELECT recall('items', '$operator', $dim)");
	$report = merge('items', 1);
	is(figures('items')->{parts}, 1, "$what: a full merge leaves one part");
	is($report->{inserted}, 0, "$what: and inserts nothing again");
	is(verdict($node, 'items', $dim, $operator, 1), 'sound', "$what: sound after that");
	my $full = sql("SELECT recall('items', '$operator', $dim)");
	sql('REINDEX INDEX items_v');
	my $fresh = sql("SELECT recall('items', '$operator', $dim)");
	note("recall: merged $recall, in one part $full, built $fresh");
	cmp_ok($recall, '>=', $fresh - 0.03, "$what: recall of merged parts");
	cmp_ok($full, '>=', $fresh - 0.03, "$what: recall of one part");
	lap($what);
}

foreach my $mode ('heap', 'fp16')
{
	my $dim = 16;
	my $index = "(v) WITH (m = 8, vectors = '$mode')";

	# ---- Rows that share a vector ----

	table('items', $dim, 1000, $index);
	sql('CREATE INDEX ON items (n)');
	# Not HOT, as n is indexed: each version gets an entry of its own.  Whether
	# they join the first one's element is certain only where the index has a copy
	# of its vector: the first version may have been pruned.
	sql('UPDATE items SET n = 1 WHERE id <= 200', 'UPDATE items SET n = 2 WHERE id <= 200');
	my $report = merge('items');
	is($report->{log_entries}, 400, "$mode: versions of rows are merged");
	cmp_ok($report->{duplicates}, '>=', $mode eq 'fp16' ? 400 : 200, "$mode: they share elements");
	my $figures = figures('items');
	is("$figures->{elements} $figures->{rows}", (1000 + $report->{inserted}) . ' 1400', "$mode: elements and rows");
	# Rows like visible ones join those.
	sql("INSERT INTO items (id, v) SELECT 20000 + i, hm_test.vec(i, $dim) FROM generate_series(1, 300) AS i");
	$report = merge('items');
	is("$report->{log_entries} $report->{inserted} $report->{duplicates}", '300 0 300', "$mode: equal rows join stored elements");
	sql('DELETE FROM items WHERE id > 20000');
	is(verdict($node, 'items', $dim), 'sound', "$mode: sound with postings");
	sql("INSERT INTO items (id, v) SELECT 10000 + i, hm_test.vec(5000 + i % 10, $dim) FROM generate_series(1, 100) AS i");
	$report = merge('items');
	is("$report->{inserted} $report->{duplicates}", '10 90', "$mode: so do equal rows within one log");
	is(verdict($node, 'items', $dim), 'sound', "$mode: sound after that");
	sql('VACUUM items');
	is(figures('items')->{dead_rows}, 700, "$mode: what was updated or deleted is dead");
	is(figures('items')->{live_elements}, 1010, "$mode: elements with a living row live on");
	$report = merge('items', 1);
	$figures = figures('items');
	is("$report->{dropped} $figures->{elements} $figures->{rows} $figures->{dead_rows}", '700 1010 1100 0', "$mode: the dead are dropped, and elements that have no other row");
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode: sound after that");

	# ---- One row, changed a thousand times, not its vector ----

	my $blocks = $figures->{blocks_total};
	my $most = 0;
	for my $i (1 .. 10)
	{
		sql("DO \$\$ BEGIN FOR i IN 1..100 LOOP UPDATE items SET n = n + 1 WHERE id = 500; END LOOP; END \$\$");
		merge('items');
		sql('VACUUM items') if $i % 2 == 0;
		$most = figures('items')->{rows} if figures('items')->{rows} > $most;
	}
	is(verdict($node, 'items', $dim), 'sound', "$mode: sound after a thousand updates of a row");
	merge('items', 1);
	$figures = figures('items');
	is("$figures->{elements} $figures->{rows} $figures->{dead_rows}", '1010 1100 0', "$mode: nothing of them is left");
	cmp_ok($most, '<=', 1100 + 400, "$mode: dead ones do not pile up");
	cmp_ok(live_blocks($figures), '<=', $blocks, "$mode: the index is no larger");
	cmp_ok($figures->{blocks_total}, '<=', 3 * live_blocks($figures) + 64, "$mode: nor is the file, by much");

	# ---- Dead rows ----

	sql('DELETE FROM items WHERE id % 3 = 0', 'VACUUM items');
	my $dead = figures('items')->{dead_rows};
	cmp_ok($dead, '>', 300, "$mode: VACUUM marks the dead ($dead)");
	is(verdict($node, 'items', $dim), 'sound', "$mode: sound with tombstones");
	$report = merge('items');
	cmp_ok($report->{dropped}, '>', 300, "$mode: a merge drops them, as there are many");
	$figures = figures('items');
	is("$figures->{dead_rows} $figures->{elements}", "0 $figures->{live_elements}", "$mode: none is left");
	is($figures->{rows}, rows('items'), "$mode: and the rest is there");
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode: sound without them");
	sql('DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY id LIMIT 20)', 'VACUUM items');
	is(merge('items')->{blocks_written}, 0, "$mode: for a few no merge rewrites the graph");
	cmp_ok(merge('items', 1)->{dropped}, '>', 0, "$mode: a full one does");
	is(figures('items')->{dead_rows}, 0, "$mode: none is left again");
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode: sound");
	sql('DELETE FROM items', 'VACUUM items');
	merge('items', 1);
	$figures = figures('items');
	is("$figures->{elements} $figures->{rows}", '0 0', "$mode: everything may die");
	fill($node, 'items', $dim, 2, 300);
	is(merge('items')->{inserted}, 299, "$mode: and rows come into the empty graph");
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode: sound from nothing");

	# ---- Transactions ----

	# What was merged stays, whatever becomes of the rows.
	sql('BEGIN', "INSERT INTO items (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1001, 1100) AS i",
		'UPDATE items SET n = n + 1 WHERE id < 50', "SELECT hnsw_mmap_merge('items_v')", 'ROLLBACK');
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode: sound after a rollback");
	sql('BEGIN', 'SAVEPOINT s', "INSERT INTO items (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1001, 1100) AS i",
		"SELECT hnsw_mmap_merge('items_v', true)", 'ROLLBACK TO s',
		"INSERT INTO items (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1001, 1100) AS i",
		"SELECT hnsw_mmap_merge('items_v')", 'COMMIT');
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode: sound after a savepoint");
	sql('VACUUM items');
	cmp_ok(figures('items')->{dead_rows}, '>=', 200, "$mode: what was rolled back is dead");
	merge('items', 1);
	is(figures('items')->{rows}, rows('items'), "$mode: and goes");
	# A scan whose own query inserts and merges.
	sql(<<SQL);
CREATE OR REPLACE FUNCTION merge_beside(k int) RETURNS bigint LANGUAGE plpgsql AS \$\$
DECLARE
    merged bigint;
BEGIN
    INSERT INTO items (id, v) VALUES (100000 + k, hm_test.vec(100000 + k, $dim));
    SELECT inserted FROM hnsw_mmap_merge('items_v', k % 2 = 0) INTO merged;
    RETURN merged;
END
\$\$
SQL
	my $rows = rows('items');
	is(sql('SET enable_seqscan = off', 'SET enable_sort = off', 'SET hnsw_mmap.ef_search = 10', 'SET hnsw_mmap.iterative_scan = relaxed_order',
			"SELECT count(*), count(DISTINCT id), sum(merged) FROM (SELECT id, CASE WHEN id % 10 = 0 THEN merge_beside(id) END AS merged"
			. " FROM items ORDER BY v <-> hm_test.vec(0, $dim)) AS s"),
		join('|', $rows, $rows, sql('SELECT count(*) FROM items WHERE id < 100000 AND id % 10 = 0')), "$mode: a scan that merges as it goes");
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode: sound after that");
	lap("$mode: rows");

	# ---- Turnover: the file does not grow without end ----

	$dim = 32;
	table('items', $dim, 3000, $index);
	my $worst = 0;
	for my $round (1 .. 10)
	{
		my $first = 3000 + 1000 * ($round - 1);

		sql("DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY id LIMIT 1000)", 'VACUUM items');
		for my $part (0 .. 3)
		{
			fill($node, 'items', $dim, $first + 250 * $part + 1, $first + 250 * $part + 250);
			merge('items');
		}
		my $figures = figures('items');
		my $ratio = $figures->{blocks_total} / live_blocks($figures);
		$worst = $ratio if $ratio > $worst;
		is($figures->{blocks_lost}, 0, "$mode, round $round: no block is lost") if $figures->{blocks_lost};
	}
	cmp_ok($worst, '<=', 3, sprintf("$mode: ten rounds of turnover: at most %.2f times the live size", $worst));
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode: sound after the turnover");
	my $turned = figures('items');
	sql('REINDEX INDEX items_v');
	cmp_ok($turned->{blocks_total}, '<=', 3 * figures('items')->{blocks_total} + 64, "$mode: and three times a new index's");
	lap("$mode: turnover");

	# ---- Vectors that take more than a page ----

	$dim = 5000;
	table('items', $dim, 40, $index);
	fill($node, 'items', $dim, 41, 70);
	is(verdict($node, 'items', $dim), 'sound', "$mode, $dim dimensions: sound with a log");
	is(merge('items')->{inserted}, 30, "$mode, $dim dimensions: merged");
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode, $dim dimensions: sound");
	sql('DELETE FROM items WHERE id % 3 = 0', 'UPDATE items SET n = 1 WHERE id % 5 = 0', 'VACUUM items');
	fill($node, 'items', $dim, 71, 80);
	merge('items');
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode, $dim dimensions: sound after turnover");
	merge('items', 1);
	is(figures('items')->{rows}, rows('items'), "$mode, $dim dimensions: nothing dead is left");
	is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode, $dim dimensions: sound in one part");
	lap("$mode: large");

	# ---- Unlogged ----

	$dim = 8;
	sql('DROP TABLE items', 'CREATE UNLOGGED TABLE items (id int PRIMARY KEY, n int DEFAULT 0, v real[])',
		"INSERT INTO items (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 500) AS i",
		"CREATE INDEX items_v ON items USING hnsw_mmap $index");
	foreach my $life ('unlogged', 'unlogged, after a crash')
	{
		fill($node, 'items', $dim, 501, 800);
		is(merge('items')->{inserted}, 300, "$mode, $life: merged");
		sql('DELETE FROM items WHERE id % 4 = 0', 'VACUUM items');
		merge('items', 1);
		is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$mode, $life: sound");
		kill_server($node);
		$node->start;
		is(rows('items'), 0, "$mode, $life: empty after a crash");
		is(verdict($node, 'items', $dim), 'sound', "$mode, $life: so is the index");
	}

	# ---- Temporary: a session of its own, and nobody else merges ----

	my $session = "SET enable_seqscan = off; SET enable_sort = off; SET hnsw_mmap.iterative_scan = relaxed_order; SET hnsw_mmap.ef_search = 20;\n"
	  . "CREATE TEMPORARY TABLE passing (id int, v real[]);\n"
	  . "INSERT INTO passing SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 1000) AS i;\n"
	  . "CREATE INDEX passing_v ON passing USING hnsw_mmap $index;\n"
	  . "INSERT INTO passing SELECT i, hm_test.vec(i, $dim) FROM generate_series(1001, 1300) AS i;\n";
	my ($rc, $out, $err) = run_sql($node, $session . <<SQL);
SELECT inserted FROM hnsw_mmap_merge('passing_v');
DELETE FROM passing WHERE id % 4 = 0;
VACUUM passing;
SELECT dropped FROM hnsw_mmap_merge('passing_v', true);
SELECT hm_test.verdict('passing', 'passing_v', '<->', $dim, true);
-- Nobody merges in the background: whoever inserts does, when there is much.
SET hnsw_mmap.merge_log_entries = 50;
SET hnsw_mmap.background_merge = on;
INSERT INTO passing SELECT i, hm_test.vec(i, $dim) FROM generate_series(2001, 4000) AS i;
SELECT log_entries < 1000 FROM hnsw_mmap_stats('passing_v');
SELECT hm_test.verdict('passing', 'passing_v', '<->', $dim, false);
SQL
	is("$err$out", "300\n325\nsound\nt\nsound", "$mode: temporary table");

	# Snapshots of the session itself hold its space too, also where no
	# transaction of anybody needs it.
	my $other = "\\! psql -X -q -t -d '" . $node->connstr('postgres') . "' -c 'SELECT txid_current()' -c 'SELECT txid_current()' > /dev/null\n";
	($rc, $out, $err) = run_sql($node, $session . <<SQL);
BEGIN;
DECLARE c CURSOR FOR SELECT count(*) OVER () FROM (SELECT 1 FROM passing ORDER BY v <-> hm_test.vec(0, $dim)) AS s;
DECLARE d CURSOR FOR SELECT id FROM passing ORDER BY v <-> hm_test.vec(0, $dim);
MOVE 5 FROM d;
SELECT count(*) FROM hnsw_mmap_merge('passing_v', true);
${other}SELECT count(*) FROM hnsw_mmap_merge('passing_v', true);
SELECT blocks_retired > 0 FROM hnsw_mmap_check('passing_v');
MOVE FORWARD ALL FROM d;
COMMIT;
SELECT 'end';
SQL
	is("$err$out", "1\n1\nt\nend", "$mode: temporary table: a cursor keeps what it reads while merges go on");
	lap("$mode: unlogged and temporary");
}
# ---- A log that is not small beside the graph: merged the way of a build ----

foreach my $mode ('heap', 'fp16')
{
	my $dim = 16;

	sql("CREATE TABLE loaded (id int PRIMARY KEY, n int DEFAULT 0, v real[])",
		"CREATE INDEX loaded_v ON loaded USING hnsw_mmap (v) WITH (m = 8, vectors = '$mode')",
		"INSERT INTO loaded (id, v) VALUES (0, NULL)");
	fill($node, 'loaded', $dim, 2, 6001);
	sql('INSERT INTO loaded (id, v) SELECT id + 100000, v FROM loaded WHERE id BETWEEN 101 AND 200');
	my $report = merge('loaded');
	is("$report->{inserted} $report->{duplicates} $report->{distances}", '6000 100 0', "$mode: an index that was empty: built");
	is(verdict($node, 'loaded', $dim, '<->', 1), 'sound', "$mode: sound");

	fill($node, 'loaded', $dim, 6002, 10001);
	sql('INSERT INTO loaded (id, v) SELECT id + 200000, v FROM loaded WHERE id BETWEEN 151 AND 350',
		'INSERT INTO loaded (id, v) SELECT id + 300000, v FROM loaded WHERE id BETWEEN 9001 AND 9100');
	$report = merge('loaded');
	is("$report->{inserted} $report->{duplicates} $report->{distances}", '4000 300 0', "$mode: goes on from the graph that was there");
	my $figures = figures('loaded');
	is("$figures->{elements} $figures->{parts} $figures->{unreachable}", '10000 1 0', "$mode: one part, all of it reached");
	is(verdict($node, 'loaded', $dim, '<->', 1), 'sound', "$mode: sound after that");
	my $merged = sql("SELECT recall('loaded', '<->', $dim)");

	sql('DELETE FROM loaded WHERE id % 50 = 0');
	sql('VACUUM loaded');
	fill($node, 'loaded', $dim, 10002, 15001);
	$report = merge('loaded');
	is($report->{inserted}, 5000, "$mode: merged");
	cmp_ok($report->{distances}, '>', 0, "$mode: in the other way, as elements have died");
	is(verdict($node, 'loaded', $dim, '<->', 1), 'sound', "$mode: sound without them");

	sql('DELETE FROM loaded WHERE id > 10001');
	sql('REINDEX INDEX loaded_v');
	my $fresh = sql("SELECT recall('loaded', '<->', $dim)");
	note("recall: built by merges $merged, built at once $fresh");
	cmp_ok($merged, '>=', $fresh - 0.03, "$mode: recall");
	sql('DROP TABLE loaded');
	lap("$mode: the way of a build");
}

# ---- Policy: four parts of one size become one ----

table('tiers', 16, 3000, '(v) WITH (m = 8)');
my @parts;
foreach my $i (0 .. 4)
{
	fill($node, 'tiers', 16, 3001 + 20 * $i, 3020 + 20 * $i);
	merge('tiers');
	push @parts, figures('tiers')->{parts};
}
is("@parts", '2 3 4 2 3', 'parts of one size wait for each other');
is(verdict($node, 'tiers', 16, '<->', 1), 'sound', 'sound after that');
lap('policy');
ok(!grep(/TRAP:|PANIC:/, slurp_file($node->logfile)), 'nothing failed an assertion');
$node->stop;

# ---- wal_level = minimal: an index that is not logged, as its table is new ----

foreach my $threshold ('0', '1GB')
{
	$node->append_conf('postgresql.conf', "wal_level = minimal\nmax_wal_senders = 0\nwal_skip_threshold = '$threshold'");
	$node->start;
	$node->safe_psql('postgres', <<SQL);
BEGIN;
DROP TABLE IF EXISTS fresh;
CREATE TABLE fresh (id int PRIMARY KEY, v real[]);
INSERT INTO fresh SELECT i, hm_test.vec(i, 16) FROM generate_series(1, 1000) AS i;
CREATE INDEX fresh_v ON fresh USING hnsw_mmap (v) WITH (vectors = 'fp16');
INSERT INTO fresh SELECT i, hm_test.vec(i, 16) FROM generate_series(1001, 1300) AS i;
SELECT hnsw_mmap_merge('fresh_v');
INSERT INTO fresh SELECT i, hm_test.vec(i, 16) FROM generate_series(1301, 1400) AS i;
SELECT hnsw_mmap_merge('fresh_v', true);
INSERT INTO fresh SELECT i, hm_test.vec(i, 16) FROM generate_series(1401, 1500) AS i;
COMMIT;
SQL
	kill_server($node);
	$node->start;
	is(verdict($node, 'fresh', 16), 'sound', "wal_level = minimal, wal_skip_threshold = $threshold: sound after a crash");
	merge('fresh');
	is(verdict($node, 'fresh', 16, '<->', 1), 'sound', "wal_level = minimal, wal_skip_threshold = $threshold: and after a merge");
	$node->stop;
}

done_testing();
