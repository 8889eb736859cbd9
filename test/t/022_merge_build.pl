# A merge the way of a build, by several processes (src/index/merge_build.c), one of
# which is terminated or killed: the merge fails, and has changed nothing.  Every row
# is found, no scratch file is left, and the next merge has all of them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $dim = 32;
my $stored = 2000;
my $entries = 6000;
my $node = new_node('merge_build', <<CONF);
restart_after_crash = on
hnsw_mmap.background_merge = off
max_worker_processes = 8
max_parallel_workers = 4
max_parallel_maintenance_workers = 2
CONF

# An index and a log.  Many candidates make a merge last long enough to be met at work.
sub prepare
{
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS items');
	fill($node, 'items', $dim, 1, $stored);
	$node->safe_psql('postgres', <<SQL);
ALTER TABLE items SET (parallel_workers = 2);
CREATE INDEX items_v ON items USING hnsw_mmap (v) WITH (m = 32, ef_construction = 2000);
SQL
	fill($node, 'items', $dim, $stored + 1, $stored + $entries);
}
prepare();

my $merge = "SELECT inserted, duplicates FROM hnsw_mmap_merge('items_v', true);";

sub log_entries { return $node->safe_psql('postgres', "SELECT log_entries FROM hnsw_mmap_stats('items_v')"); }

# The processes that work for a merge, as soon as there are two.  Asks in one session:
# on a busy machine the merge may be over before another has begun.
sub workers
{
	my ($run) = @_;
	my $session = $node->background_psql('postgres');
	my @pids;

	while (@pids != 2 && $run->{handle}->pumpable)
	{
		@pids = split /\n/, $session->query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'parallel worker' ORDER BY pid");
		$run->{handle}->pump_nb;
		sleep 0.005;
	}
	$session->quit;
	return @pids == 2 ? @pids : ();
}

# After a merge that failed.
sub unchanged
{
	my ($what, $files) = @_;

	is(join(' ', scratch_files($node)), '', "$what: no scratch file is left");
	is(log_entries(), $entries, "$what: the log is whole");
	is(verdict($node, 'items', $dim), 'sound', "$what: sound, and every row is found");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'"), '0', "$what: nobody works on");
}

# At once: a worker may not have begun.  Later: in the midst of inserting.  Stopped
# there: the others have done all that is left, and the leader waits.
my $failures = 0;
my $terminated = qr/ERROR:  (?:57P01: terminating background worker "parallel worker" due to administrator command|55000: parallel worker failed to initialize)\n/;
foreach my $when ('at once', 'later', 'stopped')
{
	foreach my $how ('terminated', 'killed')
	{
		my $what = "a worker $how, $when";
		my $deaths = deaths($node);
		my $run = background($node, $merge);
		my ($pid) = workers($run);

		if (!ok($pid, "$what: there are workers"))
		{
			finish_background($run);
			diag($run->{out} . $run->{err});
			last;
		}
		sleep 0.3 if $when ne 'at once';
		if ($when eq 'stopped')
		{
			kill 'STOP', $pid;
			$node->poll_query_until('postgres', <<SQL) or diag('the others did not end');
SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'parallel worker'
SQL
		}
		if ($how eq 'killed') { kill 'KILL', $pid; }
		else
		{
			$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
			kill 'CONT', $pid;
		}
		if (finish_background($run) && $how eq 'terminated')
		{
			# It was told so when nothing was left for it to do.
			is($run->{out}, "$entries|0\n", "$what: too late, and all rows are merged");
			is(verdict($node, 'items', $dim, '<->', 1), 'sound', "$what: sound");
			prepare();
			next;
		}
		$failures++;
		if ($how eq 'killed')
		{
			like($run->{err}, qr/57P02: terminating connection because of crash of another server process|server closed the connection/, "$what: as everybody's statement does");
			ok(wait_restarted($node, $deaths), "$what: the server recovers");
		}
		else { like($run->{err}, $terminated, "$what: and says why"); }
		unchanged($what);
	}
}

cmp_ok($failures, '>=', 4, 'merges failed');

my $run = background($node, $merge);
my @workers = workers($run);
ok(finish_background($run), 'the next merge') or diag($run->{err});
is(scalar @workers, 2, 'is by several processes, too');
is($run->{out}, "$entries|0\n", 'and has every row');
is(verdict($node, 'items', $dim, '<->', 1), 'sound', 'sound after that');
is(join(' ', scratch_files($node)), '', 'no scratch file is left');

# A background worker's merge, which who inserts asks for again.  insert_until(SQL):
# inserts single rows until the statement gives something.
sub insert_until
{
	my ($sql) = @_;

	foreach (1 .. 1000)
	{
		my $found = $node->safe_psql('postgres',
			"SET hnsw_mmap.background_merge = on; INSERT INTO items SELECT i, 0, hm_test.vec(i, $dim) FROM nextval('next') AS i; $sql");
		return $found if $found;
		sleep 0.02;
	}
	return;
}

prepare();
$node->safe_psql('postgres', "CREATE SEQUENCE next START 10000");
my $pid = insert_until("SELECT pid FROM pg_stat_activity WHERE backend_type = 'parallel worker' LIMIT 1");
my $log_size = -s $node->logfile;
ok($pid, 'a background worker merges by several processes') and $node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok(insert_until("SELECT true FROM hnsw_mmap_stats('items_v') WHERE log_entries < 1000"), 'if one is terminated, they merge again');
# It may have been told so when nothing was left for it to do.
note('the merge ended well') if substr(slurp_file($node->logfile), $log_size) !~ $terminated;
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('parallel worker', 'hnsw_mmap merge worker')"), 'they end');
is(verdict($node, 'items', $dim), 'sound', 'sound after that');
is(join(' ', scratch_files($node)), '', 'no scratch file is left');
$node->stop;
done_testing();
