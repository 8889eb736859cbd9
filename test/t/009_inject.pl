# Failures at chosen points: at every HM_TEST_POINT of the sources a process dies,
# fails, is cancelled, and pauses while others read, insert, vacuum and merge
# (scenario 12; test/modules/hm_inject).  Afterwards the index must be sound by
# hnsw_mmap_check(full), give a sequential scan's answers, and lose no block.
#
# HM_ONLY, a regular expression, restricts the test to some points.

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
my $node = new_injection_node('inject', <<CONF);
hnsw_mmap.background_merge = off
shared_buffers = 16MB
autovacuum = off
CONF

# Which statements reach a point, and who may have to wait while a process is
# paused there: another merge, VACUUM, an insert, a reader.  Everybody else must
# get through.  A merge waits for the one before it, VACUUM and the publication of
# a merge for each other; a file that is cut off is nobody's for that moment.
my @points = (
	[ 'log-append', 'insert', '' ],
	[ 'merge-locked', 'merge', 'merge' ],
	[ 'space-reuse-logged', 'merge', 'merge vacuum' ],
	[ 'merge-recycled', 'merge', 'merge' ],
	[ 'merge-sealed', 'merge', 'merge' ],
	[ 'merge-read', 'merge', 'merge' ],
	[ 'merge-grown', 'merge', 'merge' ],
	[ 'part-reserved', 'merge', 'merge' ],
	[ 'part-batch', 'merge', 'merge' ],
	[ 'merge-written', 'merge', 'merge' ],
	[ 'merge-publishing', 'merge', 'merge vacuum' ],
	[ 'merge-switching', 'merge', 'merge vacuum' ],
	[ 'merge-switched', 'merge', 'merge vacuum' ],
	[ 'merge-published', 'merge', 'merge' ],
	[ 'space-truncating', 'shrink', 'merge vacuum insert reader' ],
	[ 'vacuum-locked', 'vacuum', 'merge vacuum' ],
	[ 'vacuum-bits-set', 'vacuum', 'merge vacuum' ],
	[ 'vacuum-blanked', 'vacuum', 'merge vacuum' ],
	[ 'build-scanned', 'build', 'vacuum insert' ],
	[ 'build-graph-made', 'build', 'vacuum insert' ],
	[ 'part-batch', 'build', 'vacuum insert' ],
	[ 'build-publishing', 'build', 'vacuum insert' ],
	[ 'build-written', 'build', 'vacuum insert' ],
	[ 'scan-begun', 'scan', '' ],
	[ 'scan-batch', 'scan', '' ]);

# Every point that there is, is here.
my %in_sources = map { $_ => 1 } map { slurp_file($_) =~ /HM_TEST_POINT\("([^"]+)"\)/g } glob "$FindBin::RealBin/../../src/*/*.[ch]";
my %in_table = map { $_->[0] => 1 } @points;
is(join(' ', sort keys %in_table), join(' ', sort keys %in_sources), 'every point of the sources is tested');

my %operator = (items_heap => '<->', items_fp16 => '<=>', wide => '<->');
my %dim = (items_heap => $dim, items_fp16 => $dim, wide => 256);

fill($node, 'items_heap', $dim, 1, 500);
fill($node, 'items_fp16', $dim, 1, 500);
# Large vectors: an index that shrinks leaves enough space to be cut off.
fill($node, 'wide', $dim{wide}, 1, 300);
$node->safe_psql('postgres', <<SQL);
CREATE INDEX items_heap_v ON items_heap USING hnsw_mmap (v) WITH (m = 8, ef_construction = 40);
CREATE INDEX items_fp16_v ON items_fp16 USING hnsw_mmap (v real_cosine_ops) WITH (vectors = 'fp16', m = 8, ef_construction = 40);
CREATE INDEX wide_v ON wide USING hnsw_mmap (v) WITH (vectors = 'fp16', m = 8, ef_construction = 40);
SQL

sub insert_rows { my ($table, $n) = @_; return new_rows($table, $dim{$table}, $n); }

# Something for everybody to do: retired space, a log, dead rows in part and log.
sub prepare
{
	my ($table, $by) = @_;

	# Most of a large index dies.
	return $node->safe_psql('postgres', insert_rows($table, 900) . "SELECT hnsw_mmap_merge('${table}_v', true);\n"
			. "DELETE FROM $table WHERE id > 300;\nVACUUM $table;\n") if $by eq 'shrink';
	my $remainder = choose(10);
	$node->safe_psql('postgres', insert_rows($table, 10)
		. "SELECT hnsw_mmap_merge('${table}_v', true);\n"
		. insert_rows($table, 40)
		. "DELETE FROM $table WHERE id % 10 = $remainder;\n"
		. insert_rows($table, 10));
}

# The statements that reach a point.
sub statements
{
	my ($table, $by, $full) = @_;
	my $second = $operator{$table} eq '<=>' ? "(v real_cosine_ops) WITH (vectors = 'fp16', m = 8)" : '(v) WITH (m = 8)';

	return insert_rows($table, 10) if $by eq 'insert';
	return "SELECT hnsw_mmap_merge('${table}_v', $full);" if $by eq 'merge';
	return "VACUUM $table;" if $by eq 'vacuum';
	return "CREATE INDEX again ON $table USING hnsw_mmap $second;" if $by eq 'build';
	return "CREATE INDEX CONCURRENTLY again ON $table USING hnsw_mmap $second;" if $by eq 'build concurrently';
	return reader($table) if $by eq 'scan';
	# Merges of everything move what is left to the front, most often two or three of them.
	return join('', map { insert_rows($table, 1) . "SELECT hnsw_mmap_merge('${table}_v', true);\n" } 1 .. 8) if $by eq 'shrink';
	die $by;
}

sub reader { my ($table) = @_; return in_one_snapshot($table, $dim{$table}, $operator{$table}); }

# The index is sound, a merge works and leaves nothing over, and it still is.
sub afterwards
{
	my ($what, $table) = @_;

	$node->safe_psql('postgres', 'DROP INDEX IF EXISTS again');
	is(verdict($node, $table, $dim{$table}, $operator{$table}), 'sound', "$what: sound");
	my $full = choose(2) ? 'true' : 'false';
	my ($rc, $out, $err) = run_sql($node, insert_rows($table, 3) . "SELECT hnsw_mmap_merge('${table}_v', $full)");
	is($err, '', "$what: a merge works");
	is(verdict($node, $table, $dim{$table}, $operator{$table}, 1), 'sound', "$what: sound after that");
}

sub table_for
{
	my ($by, $turn) = @_;

	return $by eq 'shrink' ? 'wide' : $turn % 2 ? 'items_heap' : 'items_fp16';
}

my %seconds;

# (a) The process dies, and with it all others.
sub crash_at
{
	my ($point, $by, $turn) = @_;
	my $table = table_for($by, $turn);
	my $what = "$point ($by, $table), crash";

	prepare($table, $by);
	inject($node, $point, 'crash');
	my $deaths = deaths($node);
	my $run = background($node, statements($table, $by, $turn % 4 < 2 || $point eq 'space-reuse-logged' ? 'true' : 'false'));
	finish_background($run);
	like($run->{err}, qr/server closed the connection|terminating connection|SSL connection has been closed/, "$what: it happened");
	ok(wait_restarted($node, $deaths), "$what: the server recovers");
	afterwards($what, $table);
}

# (b) It fails, and is cancelled.
sub fail_at
{
	my ($point, $by, $turn) = @_;
	my $table = table_for($by, $turn + 1);
	my $full = $turn % 4 < 2 && $point ne 'space-reuse-logged' ? 'false' : 'true';

	prepare($table, $by);
	inject($node, $point, 'error');
	my ($rc, $out, $err) = run_sql($node, statements($table, $by, $full));
	like($err, qr/XX000: error injected at "$point"/, "$point ($by, $table), error: it happened");
	is(verdict($node, $table, $dim{$table}, $operator{$table}), 'sound', "$point ($by, $table), error: sound");

	prepare($table, $by);
	inject($node, $point, 'pause');
	my $run = background($node, statements($table, $by, $full));
	ok(wait_paused($node, $point), "$point ($by, $table), cancel: it is there");
	$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Extension'");
	finish_background($run);
	like($run->{err}, qr/57014: canceling statement/, "$point ($by, $table), cancel: it happened");
	is($node->safe_psql('postgres', "SELECT hm_inject_waiting('$point'); SELECT hm_inject_clear()"), "0\n", "$point ($by, $table), cancel: nobody waits");
	afterwards("$point ($by, $table), error and cancel", $table);
}

# (c) It pauses, others do not.
sub pause_at
{
	my ($point, $by, $blocks, $turn) = @_;
	my $table = table_for($by, $turn);
	my $what = "$point ($by, $table), pause";
	my %beside = (
		reader => reader($table),
		insert => insert_rows($table, 10),
		# Rows that the paused process may have read already die, and others
		# come in their places.
		vacuum => "DELETE FROM $table WHERE id % 7 = " . choose(7) . ";\nVACUUM $table;\n" . insert_rows($table, 10),
		merge => "SELECT hnsw_mmap_merge('${table}_v', " . ($turn % 2 ? 'true' : 'false') . ');');

	# Inserts beside a build are possible if it is a concurrent one.
	if ($by eq 'build')
	{
		$by = 'build concurrently';
		$blocks = 'vacuum';
	}
	prepare($table, $by);
	inject($node, $point, 'pause');
	my $run = background($node, statements($table, $by, $turn % 4 < 2 || $point eq 'space-reuse-logged' ? 'true' : 'false'));
	if (!ok(wait_paused($node, $point), "$what: it is there"))
	{
		$run->{handle}->kill_kill;
		return;
	}

	# One after the other: the reader looks again when the rest has been done.
	my @runs;
	foreach my $who ('reader', 'insert', 'vacuum', 'merge', 'reader')
	{
		my $other = background($node, $beside{$who});
		my $may_wait = $blocks =~ /\b$who\b/;

		push @runs, [ $who, $other ];
		ok(done_within($other, 30), "$what: $who does not wait") unless $may_wait;
		is($other->{out}, "right\n", "$what: the reader is right") if $who eq 'reader' && !$may_wait;
	}
	# They may have begun to wait by now.
	sleep 0.1;
	is($node->safe_psql('postgres', "SELECT hm_inject_waiting('$point')"), 1, "$what: still there");
	release_point($node, $point);
	ok(finish_background($run), "$what: it ends well") or diag($run->{err});
	foreach my $other (@runs)
	{
		ok(finish_background($other->[1]), "$what: $other->[0] ends well") or diag($other->[1]->{err});
		is($other->[1]->{out}, "right\n", "$what: the reader was right") if $other->[0] eq 'reader';
	}
	like($run->{out}, qr/^right$/, "$what: its own answer is right") if $by eq 'scan';
	is(verdict_of_second($table), 'sound', "$what: the new index is sound") if $by =~ /^build/;
	afterwards($what, $table);
}

# Of the index that was built beside the table's own, which the planner could prefer.
sub verdict_of_second
{
	my ($table) = @_;
	my ($rc, $out, $err) = run_sql($node,
		"BEGIN; DROP INDEX ${table}_v; SELECT hm_test.verdict('$table', 'again', '$operator{$table}', $dim{$table}, false); ROLLBACK;");

	return $rc == 0 ? $out : "error: $err";
}

my $turn = 0;
foreach my $entry (@points)
{
	my ($point, $by, $blocks) = @$entry;
	my $start = time;

	next unless "$point $by" =~ /$only/;
	crash_at($point, $by, $turn);
	fail_at($point, $by, $turn);
	pause_at($point, $by, $blocks, $turn + 1);
	$turn++;
	note(sprintf('%s (%s): %.1f s', $point, $by, time - $start));
}
$node->stop;

done_testing();
