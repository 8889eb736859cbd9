# Builds that are cancelled, bounded or parallel, and what they show meanwhile
# (scenarios 11, 15).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# Few dimensions: the graph then finds every neighbour, and the tests can ask for that.
my $dim = 16;
my $node = new_node('build', <<CONF);
max_worker_processes = 40
max_parallel_workers = 40
max_parallel_maintenance_workers = 2
min_parallel_table_scan_size = 0
CONF

fill($node, 'items', $dim, 1, 20000);
$node->safe_psql('postgres', 'VACUUM ANALYZE items');
my $create = 'CREATE INDEX items_v ON items USING hnsw_mmap (v)';

# Files of the database, to see that a failed build leaves none behind.
sub database_files
{
	my $directory = $node->data_dir . '/base/' . $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = 'postgres'");
	# Catalogs may be extended, the files of a dropped relation may wait for a checkpoint.
	$node->safe_psql('postgres', 'CHECKPOINT');
	return join ' ', sort grep { -s $_ } map { glob "$directory/$_" } '[0-9]*[0-9]';
}

my $files_before = database_files();

sub nothing_left
{
	my ($what) = @_;

	is(join(' ', scratch_files($node)), '', "$what: no scratch file is left");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname = 'items_v'"), '0', "$what: no index is left");
	is(database_files(), $files_before, "$what: no relation file is left");
}

# ---- workers and memory ----

my $build_seconds;
foreach my $case ([ 0, '64MB' ], [ 1, '64MB' ], [ 4, '1GB' ], [ 0, '1MB' ], [ 32, '1TB' ])
{
	my ($workers, $memory) = @$case;
	my $what = "$workers workers, $memory";
	my $start = time;
	my ($rc, $out, $err) = run_sql($node, <<SQL);
ALTER TABLE items SET (parallel_workers = $workers);
SET max_parallel_maintenance_workers = $workers;
SET maintenance_work_mem = '$memory';
$create;
SQL
	is($rc, 0, "$what: built") or diag($err);
	$build_seconds = time - $start if !$workers && !$build_seconds;
	note(sprintf "%s: %.1f s", $what, time - $start);
	is(compare($node, 'items', $dim), 0, "$what: full recall");
	is(complete($node, 'items', $dim), 't', "$what: every row once");
	is($node->safe_psql('postgres', "SELECT elements FROM hnsw_mmap_stats('items_v')"), '20000', "$what: all elements");
	$node->safe_psql('postgres', 'DROP INDEX items_v');
	nothing_left($what);
}

# ---- progress ----

$node->safe_psql('postgres', 'ALTER TABLE items SET (parallel_workers = 2)');
# More candidates make it last long enough to be watched.
my $build = background($node, "$create WITH (ef_construction = 600);");
my (%phases, $wrong, $totals);
while ($build->{handle}->pumpable)
{
	my $row = $node->safe_psql('postgres', <<SQL);
SELECT phase, tuples_done, tuples_total, blocks_done, blocks_total FROM pg_stat_progress_create_index
SQL
	$build->{handle}->pump_nb;
	next unless $row;
	my ($phase, $tuples_done, $tuples_total, $blocks_done, $blocks_total) = split /\|/, $row;
	$phases{$phase} = $row;
	$wrong = $row if $tuples_total > 0 && $tuples_done > $tuples_total or $blocks_total > 0 && $blocks_done > $blocks_total;
	$totals = 1 if $tuples_total == 20000;
}
ok(finish_background($build), 'a build that is watched') or diag($build->{err});
note("$_: $phases{$_}") foreach sort keys %phases;
cmp_ok(scalar(grep { /^building index: / } keys %phases), '>=', 2, 'phases have names of their own');
is($wrong, undef, 'no more is done than there is');
ok($totals, 'tuples in all are known while the graph is built');
$node->safe_psql('postgres', 'DROP INDEX items_v');

# ---- cancelled at many moments ----

foreach my $i (1 .. 12)
{
	my $workers = $i % 3;
	my $delay = 0.01 + $build_seconds * $i / 14;
	my $milliseconds = int($delay * 1000);
	my ($rc, $out, $err) = run_sql($node, <<SQL);
ALTER TABLE items SET (parallel_workers = $workers);
SET statement_timeout = $milliseconds;
$create;
SQL
	if ($rc == 0)
	{
		# Parallel builds may be done by then.
		pass("timeout after $milliseconds ms, $workers workers: was done");
		$node->safe_psql('postgres', 'DROP INDEX items_v');
		next;
	}
	like($err, qr/57014/, "timeout after $milliseconds ms, $workers workers: cancelled");
	nothing_left("timeout after $milliseconds ms, $workers workers");
}

# By another session: cancelled, terminated; a worker terminated.
foreach my $how ('pg_cancel_backend', 'pg_terminate_backend', 'worker')
{
	$node->safe_psql('postgres', 'ALTER TABLE items SET (parallel_workers = 2)');
	my $run = background($node, "$create;");
	my $target = $how eq 'worker' ? "backend_type = 'parallel worker'" : "query LIKE 'CREATE INDEX%' AND backend_type = 'client backend'";
	my $function = $how eq 'pg_cancel_backend' ? $how : 'pg_terminate_backend';
	my $signalled;

	foreach (1 .. 1000)
	{
		# Some way into the build, not at its start.
		sleep($build_seconds / 10) if $_ == 1;
		$signalled = $node->safe_psql('postgres',
			"SELECT count($function(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE $target AND pid <> pg_backend_pid() LIMIT 1) AS s");
		last if $signalled;
		$run->{handle}->pump_nb;
		last unless $run->{handle}->pumpable;
	}
	my $succeeded = eval { finish_background($run) };
	if (!$signalled)
	{
		fail("$how: nobody to signal: " . $run->{err});
		$node->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
		next;
	}
	ok(!$succeeded, "$how: the build ends with an error");
	like($run->{err}, qr/57014|57P01|server closed the connection|XX000|terminating/, "$how: and says so") or diag($run->{err});
	# The backend goes on cleaning up after the client has the message.
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND pid <> pg_backend_pid()");
	nothing_left($how);
}

# ---- limits ----

my ($rc, $out, $err) = run_sql($node, "SET temp_file_limit = '1MB'; $create");
isnt($rc, 0, 'temp_file_limit stops a build');
like($err, qr/ERROR:  53400: /, 'and the error says what was exceeded');
nothing_left('temp_file_limit');

# A CONCURRENTLY that is cancelled leaves an invalid index, as for any access
# method: never used, and rebuilt by REINDEX.
foreach my $fraction (0.3, 0.6)
{
	my $milliseconds = int($build_seconds * $fraction * 1000);

	(my $concurrently = $create) =~ s/INDEX/INDEX CONCURRENTLY/;
	($rc, $out, $err) = run_sql($node, "ALTER TABLE items SET (parallel_workers = 0); SET statement_timeout = $milliseconds;\n\\g\n$concurrently");
	if ($rc != 0)
	{
		is($node->safe_psql('postgres', "SELECT coalesce(bool_or(indisvalid), false) FROM pg_index WHERE indexrelid = to_regclass('items_v')"),
			'f', 'a cancelled CONCURRENTLY leaves no valid index');
		is(join(' ', scratch_files($node)), '', 'and no scratch file');
		$node->safe_psql('postgres', "INSERT INTO items (id, v) VALUES (30000 + $milliseconds, hm_test.vec(30000, $dim))");
		$node->safe_psql('postgres', "REINDEX INDEX CONCURRENTLY items_v");
		is(compare($node, 'items', $dim), 0, 'the rerun has full recall');
	}
	$node->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
}
ok(!server_crashed($node), 'the server never crashed');
$node->stop;

done_testing();
