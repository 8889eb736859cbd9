# kill -9 of the whole server at random moments of builds, inserts, VACUUM and
# merges, and of all of them under churn (scenario 12, and 11's 'a killed one is
# detectably invalid').  After the restart an index either passes a full check
# and answers with full recall, or does not exist, and no scratch file is left
# behind.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmChurn;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my @kinds = $ENV{HM_CRASH_KIND} || qw(build churn insert vacuum concurrently churn merge);
my $rounds = $ENV{HM_CRASH_ROUNDS} || @kinds;
my $dim = 16;
my $rows = 8000;

# Merges are always due, and begin by themselves.
my $node = new_node('crash', churn_settings() . <<CONF);
max_parallel_maintenance_workers = 2
min_parallel_table_scan_size = 0
wal_level = replica
CONF

churn_prepare($node);
fill($node, 'items', $dim, 1, $rows);
$node->safe_psql('postgres', 'ALTER TABLE items SET (parallel_workers = 2); VACUUM ANALYZE items; CHECKPOINT');

my $next_id = $rows + 1;
my %options = (heap => "vectors = 'heap', m = 8, ef_construction = 64", fp16 => "vectors = 'fp16', m = 8, ef_construction = 64");

# How long a build takes, so that kills fall into every part of it.
my $start = time;
$node->safe_psql('postgres', "CREATE INDEX items_v ON items USING hnsw_mmap (v) WITH ($options{heap})");
my $build_seconds = time - $start;
note("a build takes $build_seconds s");

# Whatever was killed: how the index must be found afterwards.
sub check_after
{
	my ($what) = @_;

	kill_server($node);
	$node->start;
	is(join(' ', scratch_files($node)), '', "$what: no scratch file after the restart");
	my $valid = $node->safe_psql('postgres',
		"SELECT coalesce(bool_and(indisvalid)::text, 'gone') FROM pg_index WHERE indrelid = 'items'::regclass AND NOT indisprimary");
	if ($valid eq 'true')
	{
		is(compare($node, 'items', $dim), 0, "$what: full recall");
		is(complete($node, 'items', $dim), 't', "$what: every row once");
		is($node->safe_psql('postgres', "SELECT table_rows = (SELECT count(*) FROM items) FROM hnsw_mmap_check('items_v', full => true)"),
			't', "$what: the check is clean");
	}
	elsif ($valid eq 'false')
	{
		pass("$what: the index is marked invalid");
		$node->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY items_v');
		is(compare($node, 'items', $dim), 0, "$what: full recall after the rerun");
	}
	else
	{
		pass("$what: the index does not exist");
	}
	return $valid;
}

# A round under churn.  Its tables and indexes live through all rounds, so that
# what one crash leaves is merged, vacuumed and killed again in the next ones.
sub churn_round
{
	my ($what) = @_;
	my $place = log_place($node);
	my @runs = (churn_writers($node, 60), churn_readers($node, 60, 2), churn_vacuum($node, 60));
	# Kept going by psql, for nobody knows how far it comes.
	my $maintenance = background($node, join("\n", map { churn_maintenance() . ';' } 1 .. 200));
	my $moment = 0.2 + rand(3);

	sleep($moment);
	kill_server($node);
	stop_bench($_) foreach @runs;
	eval { $maintenance->{handle}->kill_kill };
	$node->start;
	is(join(' ', scratch_files($node)), '', "$what: no scratch file after the restart");
	# What a killed REINDEX CONCURRENTLY leaves is marked invalid, as any index's would be.
	my $left = $node->safe_psql('postgres', <<SQL);
SELECT coalesce(string_agg(format('DROP INDEX %s', indexrelid::regclass), '; '), '') FROM pg_index
 WHERE NOT indisvalid AND indrelid IN ('hm_churn.a'::regclass, 'hm_churn.b'::regclass)
SQL
	unlike($left, qr/INDEX hm_churn\.(?!\w+_cc(new|old))/, "$what: no index is invalid but what REINDEX CONCURRENTLY had begun or done with");
	$node->safe_psql('postgres', $left);
	is(churn_verify($node), '', "$what: checks are clean, every row once");
	is(complaints($node, $place), '', "$what: the log has no error");
	note(sprintf('%s: killed after %.2f s; merges so far %s', $what, $moment, join(', ', map {
					$node->safe_psql('postgres', "SELECT merges FROM hnsw_mmap_stats('$_')") } churn_indexes())));
}

# An index, whether or not the last round left one.
sub need_index
{
	my ($mode) = @_;

	$node->safe_psql('postgres',
		"DROP INDEX IF EXISTS items_v; CREATE INDEX items_v ON items USING hnsw_mmap (v) WITH ($options{$mode})");
}

foreach my $round (1 .. $rounds)
{
	my $kind = $kinds[ ($round - 1) % @kinds ];
	my $mode = choose(2) ? 'fp16' : 'heap';
	my $what = "round $round, $kind";
	my $run;

	if ($kind eq 'churn')
	{
		churn_round($what);
		next;
	}
	$what .= ", $mode";
	if ($kind eq 'build' or $kind eq 'concurrently')
	{
		my $word = $kind eq 'build' ? '' : 'CONCURRENTLY';

		$node->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v; CHECKPOINT');
		$run = background($node, "CREATE INDEX $word items_v ON items USING hnsw_mmap (v) WITH ($options{$mode});");
		sleep($build_seconds * rand(1.2));
	}
	elsif ($kind eq 'insert')
	{
		need_index($mode);
		# Single rows, in transactions of their own, some of them rolled back.
		my $statements = join("\n", map {
				my $id = $next_id++;
				my $end = $id % 5 == 0 ? 'ROLLBACK' : 'COMMIT';
				"BEGIN; INSERT INTO items (id, v) VALUES ($id, hm_test.vec($id, $dim)); $end;"
			} 1 .. 3000);
		$run = background($node, $statements);
		sleep(0.05 + rand(1.5));
	}
	elsif ($kind eq 'merge')
	{
		need_index($mode);
		$node->safe_psql('postgres', 'DELETE FROM items WHERE id % 9 = 0; UPDATE items SET n = n + 1 WHERE id % 4 = 0; VACUUM items');
		$run = background($node, "SELECT hnsw_mmap_merge('items_v', full => i % 2 = 0) FROM generate_series(1, 2) AS i;");
		sleep(rand(1.5));
	}
	else
	{
		need_index($mode);
		my $remainder = $round % 10;
		$node->safe_psql('postgres', "DELETE FROM items WHERE id % 10 = $remainder");
		$run = background($node, 'VACUUM items; VACUUM items;');
		sleep(rand(0.3));
	}
	check_after($what);
	eval { finish_background($run) };

	# The table is as useful as before.
	my $count = $node->safe_psql('postgres', 'SELECT count(*) FROM items');
	cmp_ok($count, '>', $rows / 2, "$what: the rows are there");
}
$node->stop;

# With wal_level = minimal an index built in the transaction that made its table
# is not logged but synced at commit, or logged then if it is small.
foreach my $threshold ('0', '1GB')
{
	$node->append_conf('postgresql.conf', "wal_level = minimal\nmax_wal_senders = 0\nwal_skip_threshold = '$threshold'");
	$node->start;
	$node->safe_psql('postgres', <<SQL);
BEGIN;
DROP TABLE IF EXISTS items, fresh;
CREATE TABLE fresh (id int, v real[]);
INSERT INTO fresh SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 2000) AS i;
CREATE INDEX fresh_v ON fresh USING hnsw_mmap (v);
INSERT INTO fresh SELECT i, hm_test.vec(i, $dim) FROM generate_series(2001, 2100) AS i;
COMMIT;
DELETE FROM fresh WHERE id % 10 = 0;
VACUUM fresh;
SQL
	kill_server($node);
	$node->start;
	is(compare($node, 'fresh', $dim), 0, "wal_level = minimal, wal_skip_threshold = $threshold: full recall after a crash");
	is(complete($node, 'fresh', $dim), 't', "wal_level = minimal, wal_skip_threshold = $threshold: every row once");
	$node->stop;
}

done_testing();
