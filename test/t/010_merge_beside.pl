# Merges beside others, moment by moment (test/modules/hm_inject): a paused scan
# keeps what it may still read; rows die while a merge has them in hand; the merge
# is a background worker's, or an inserter's own; a standby replays the recycling
# of what a scan there reads, and is promoted in the middle of a merge.
#
# HM_ONLY, a regular expression, restricts the test to some cases.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $dim = 8;
my $only = $ENV{HM_ONLY} || '.';
my %operator = (items_heap => '<->', items_fp16 => '<=>');
my @tables = sort keys %operator;
my $start = time;

sub lap
{
	note(sprintf('%s: %.1f s', $_[0], time - $start));
	$start = time;
}

# The tables on a node.
sub make_tables
{
	my ($node) = @_;

	fill($node, $_, $dim, 1, 500) foreach @tables;
	$node->safe_psql('postgres', <<SQL);
CREATE INDEX items_heap_v ON items_heap USING hnsw_mmap (v) WITH (m = 8, ef_construction = 40);
CREATE INDEX items_fp16_v ON items_fp16 USING hnsw_mmap (v real_cosine_ops) WITH (vectors = 'fp16', m = 8, ef_construction = 40);
SQL
}

sub insert_rows { my ($table, $n) = @_; return new_rows($table, $dim, $n); }
sub reader { my ($table) = @_; return in_one_snapshot($table, $dim, $operator{$table}); }

my $node = new_injection_node('beside', "hnsw_mmap.background_merge = off\n", allows_streaming => 1);

make_tables($node);

sub figure
{
	my ($table, $column) = @_;

	return $node->safe_psql('postgres', "SELECT $column FROM hnsw_mmap_check('${table}_v')");
}

# Something for a merge to do: retired space, a log, dead rows.
sub prepare
{
	my ($table) = @_;

	$node->safe_psql('postgres', insert_rows($table, 10) . "SELECT hnsw_mmap_merge('${table}_v', true);\n" . insert_rows($table, 40)
		. 'DELETE FROM ' . $table . ' WHERE id % 10 = ' . choose(10));
}

# The index is sound, a merge works and leaves nothing over, and it still is.
sub afterwards
{
	my ($what, $table) = @_;

	is(verdict($node, $table, $dim, $operator{$table}), 'sound', "$what: sound");
	my ($rc, $out, $err) = run_sql($node, insert_rows($table, 3) . "SELECT hnsw_mmap_merge('${table}_v')");
	is($err, '', "$what: a merge works");
	is(verdict($node, $table, $dim, $operator{$table}, 1), 'sound', "$what: sound after that");
}

# Waits until no background worker merges.
sub quiet
{
	for (1 .. 500)
	{
		return 1 if $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hnsw_mmap merge worker'") == 0;
		sleep 0.02;
	}
	return 0;
}

# ---- What a paused scan may still read is not used again ----

foreach my $point ('scan-begun', 'scan-batch')
{
	next unless "keep $point" =~ /$only/;
	foreach my $table ('items_heap', 'items_fp16')
	{
		my $what = "$table, a scan at $point";

		prepare($table);
		my $live = figure($table, 'blocks_parts + blocks_tombstones');
		inject($node, $point, 'pause');
		my $run = background($node, reader($table));
		ok(wait_paused($node, $point), "$what: it is there");
		foreach my $round (1 .. 4)
		{
			$node->safe_psql('postgres', "DELETE FROM $table WHERE id % 5 = $round;\nVACUUM $table;\n"
				. insert_rows($table, 40) . "SELECT hnsw_mmap_merge('${table}_v', true);");
			cmp_ok(figure($table, 'blocks_retired'), '>=', $live, "$what: after merge $round its blocks are still kept");
		}
		is(verdict($node, $table, $dim, $operator{$table}), 'sound', "$what: sound beside it");
		release_point($node, $point);
		ok(finish_background($run), "$what: it ends well") or diag($run->{err});
		is($run->{out}, "right\n", "$what: its answer is right");

		# Two merges later what it held is in use again.
		my $retired = figure($table, 'blocks_retired');
		$node->safe_psql('postgres', insert_rows($table, 5) . "SELECT hnsw_mmap_merge('${table}_v', true);") for 1 .. 2;
		cmp_ok(figure($table, 'blocks_retired'), '<', $retired, "$what: its blocks are free now");
		afterwards($what, $table);
	}
}

lap('scans');

# ---- Rows that die between the merge's reading and its publication ----

foreach my $case (
	[ 'merge-read', 'false', 'items_heap' ],
	[ 'merge-read', 'true', 'items_fp16' ],
	[ 'merge-grown', 'true', 'items_heap' ],
	[ 'part-batch', 'false', 'items_fp16' ],
	[ 'merge-written', 'true', 'items_heap' ],
	[ 'merge-written', 'false', 'items_fp16' ])
{
	my ($point, $full, $table) = @$case;

	next unless "dead $point" =~ /$only/;
	my $what = "$table, dead while a merge is at $point";

	prepare($table);
	$node->safe_psql('postgres', "VACUUM $table");
	$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('${table}_v', true);\n" . insert_rows($table, 30));
	is(figure($table, 'dead_rows'), 0, "$what: nothing is dead yet");
	# Rows of the part, of the log with vectors of their own, without any,
	# and some that share another's: deleted before the merge begins, as its
	# snapshot keeps what is deleted later; removed while it is paused, when
	# others take their TIDs.
	my $dead = $node->safe_psql('postgres',
		"WITH gone AS (DELETE FROM $table WHERE id % 4 = 0 OR v IS NULL OR v = hm_test.vec(1, $dim) RETURNING 1) SELECT count(*) FROM gone");
	inject($node, $point, 'pause');
	my $run = background($node, "SELECT hnsw_mmap_merge('${table}_v', $full);");
	ok(wait_paused($node, $point), "$what: it is there");
	# An aggressive VACUUM waits for a page that somebody keeps pinned, and
	# another one leaves it out.
	my $vacuum = background($node, "VACUUM (FREEZE) $table;\n" . insert_rows($table, 60));
	ok(done_within($vacuum, 3), "$what: VACUUM does not wait");
	release_point($node, $point);
	ok(finish_background($run), "$what: it ends well") or diag($run->{err});
	ok(finish_background($vacuum), "$what: VACUUM ends well") or diag($vacuum->{err});
	is(figure($table, 'dead_rows'), $dead, "$what: they are dead in what is published ($dead)");
	afterwards($what, $table);
}

lap('dead rows');

# ---- A background worker, and an inserter that merges himself ----

# The log of many rows makes a worker's merge due, or the inserter's own.
my %asks = (
	worker => 'SET hnsw_mmap.merge_log_entries = 300; SET hnsw_mmap.background_merge = on;',
	inserter => 'SET hnsw_mmap.merge_log_entries = 20; SET hnsw_mmap.background_merge = on;');

foreach my $who ('worker', 'inserter')
{
	foreach my $point ('merge-grown', 'merge-switching')
	{
		my $table = choose(2) ? 'items_heap' : 'items_fp16';
		my $what = "$who, $table, $point";

		next unless "$who $point" =~ /$only/;
		$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('${table}_v', true); DELETE FROM $table WHERE id > 500; VACUUM $table; SELECT hnsw_mmap_merge('${table}_v', true);");

		# Paused, with the others beside it, and released.
		inject($node, $point, 'pause');
		my $run = background($node, $asks{$who} . insert_rows($table, 700));
		ok(wait_paused($node, $point), "$what: it is there");
		is($node->safe_psql('postgres', "SELECT backend_type FROM pg_stat_activity WHERE wait_event_type = 'Extension'"),
			$who eq 'worker' ? 'hnsw_mmap merge worker' : 'client backend', "$what: it is the $who");
		my $other = background($node, reader($table));
		ok(done_within($other, 30), "$what: a reader does not wait");
		finish_background($other);
		is($other->{out}, "right\n", "$what: the reader is right") or diag($other->{err});
		$node->safe_psql('postgres', insert_rows($table, 10));
		# VACUUM waits while a merge publishes.
		my $vacuum = background($node, "DELETE FROM $table WHERE id BETWEEN 200 AND 220;\nVACUUM $table;\n" . insert_rows($table, 10));
		ok(done_within($vacuum, 30), "$what: VACUUM does not wait") unless $point eq 'merge-switching';
		sleep 0.05;
		release_point($node, $point);
		ok(finish_background($vacuum), "$what: VACUUM ends well") or diag($vacuum->{err});
		ok(finish_background($run), "$what: the insert ends well") or diag($run->{err});
		ok(quiet(), "$what: the merge ends");
		afterwards($what, $table);

		# Terminated, failing.
		foreach my $action ('terminate', 'error', 'crash')
		{
			$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('${table}_v', true)");
			my $deaths = deaths($node);
			inject($node, $point, $action eq 'terminate' ? 'pause' : $action);
			$run = background($node, $asks{$who} . insert_rows($table, 700));
			if ($action eq 'terminate')
			{
				ok(wait_paused($node, $point), "$what: it is there to be terminated");
				$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE wait_event_type = 'Extension'");
			}
			my $well = finish_background($run);
			if ($action eq 'crash')
			{
				# The insert may have ended before its worker dies.
				ok(wait_restarted($node, $deaths), "$what, crash: the server recovers");
				is(deaths($node), $deaths + 1, "$what, crash: it happened");
			}
			else
			{
				ok($well == ($who eq 'worker'), "$what, $action: what becomes of the insert") or diag($run->{err});
				ok(quiet(), "$what, $action: the merge is over");
				is($node->safe_psql('postgres', "SELECT hm_inject_hits('$point') > 0"), 't', "$what, $action: it happened");
			}
			afterwards("$what, $action", $table);
			$node->safe_psql('postgres', "DELETE FROM $table WHERE id > 500; VACUUM $table");
		}
	}
}
lap('workers');

# ---- A standby, whose readers know nothing of the primary's merges ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\nmax_standby_archive_delay = -1\nhot_standby_feedback = off");
$standby->start;

# Nothing is deleted, so that no removal of rows conflicts with the reader: only
# the recycling of the index's space does.
sub recycle
{
	my ($table) = @_;

	$node->safe_psql('postgres', insert_rows($table, 40) . "SELECT hnsw_mmap_merge('${table}_v', true);\n") for 1 .. 4;
}

# How far the standby is behind in bytes.
sub behind
{
	my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');

	return $standby->safe_psql('postgres', "SELECT pg_wal_lsn_diff('$end', pg_last_wal_replay_lsn())");
}

foreach my $case ([ 'scan-begun', 'items_heap' ], [ 'scan-batch', 'items_fp16' ])
{
	my ($point, $table) = @$case;

	my $what = "standby, $table, $point";

	next unless "standby $point" =~ /$only/;
	recycle($table);
	$node->wait_for_catchup($standby);

	# Replay waits for the reader...
	$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
	$standby->reload;
	inject($standby, $point, 'pause');
	my $run = background($standby, reader($table));
	ok(wait_paused($standby, $point), "$what: a reader is there");
	recycle($table);
	sleep 1;
	cmp_ok(behind(), '>', 0, "$what: replay waits for it");
	is($standby->safe_psql('postgres', 'SELECT count(*) FROM ' . $table) > 0 ? 1 : 0, 1, "$what: others are answered");
	release_point($standby, $point);
	ok(finish_background($run), "$what: it ends well") or diag($run->{err});
	is($run->{out}, "right\n", "$what: its answer is right");
	$node->wait_for_catchup($standby);
	is(verdict($standby, $table, $dim, $operator{$table}), 'sound', "$what: sound on the standby");

	# ... or cancels it.
	$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = 0');
	$standby->reload;
	inject($standby, $point, 'pause');
	$run = background($standby, reader($table));
	ok(wait_paused($standby, $point), "$what: another reader is there");
	recycle($table);
	$node->wait_for_catchup($standby);
	finish_background($run);
	like($run->{err}, qr/40001: canceling statement due to conflict with recovery/, "$what: it is cancelled by a conflict");
	is($run->{out}, '', "$what: and answers nothing");
	$standby->safe_psql('postgres', 'SELECT hm_inject_clear()');
	is(verdict($standby, $table, $dim, $operator{$table}), 'sound', "$what: sound on the standby again");
}

# Promoted while the primary is in the middle of a merge.
if ("promotion" =~ /$only/)
{
	$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
	$standby->reload;
	foreach my $table (@tables) { prepare($table); }
	inject($node, 'part-batch', 'pause');
	my $run = background($node, "SELECT hnsw_mmap_merge('items_fp16_v', true)");
	ok(wait_paused($node, 'part-batch'), 'promotion: a merge is under way');
	$node->wait_for_catchup($standby);
	$node->stop('immediate');
	eval { finish_background($run) };
	$standby->promote;
	my $primary = $node;
	$node = $standby;
	foreach my $table (@tables)
	{
		afterwards("promotion, $table", $table);
		$node->safe_psql('postgres', "DELETE FROM $table WHERE id % 3 = 0; VACUUM $table");
		afterwards("promotion, $table, after VACUUM", $table);
	}
	kill_server($node);
	$node->start;
	is(verdict($node, $_, $dim, $operator{$_}), 'sound', "promotion, $_, after a crash: sound") foreach @tables;
	$node = $primary;
}
else { $node->stop; }
lap('standby');
$standby->stop;

done_testing();
