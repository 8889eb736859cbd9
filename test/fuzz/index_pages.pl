# Fuzzing of what reads an index's pages: an index file is damaged at random, in one
# to three places, half of the time with a checksum that fits, and then searched,
# written, vacuumed, merged and checked.  Errors and wrong answers are allowed, what
# is not is a process that dies, hangs, or a session that does not go on.
#
#   HM_FUZZ_SECONDS  for how long (default 7)
#   HM_TEST_SEED     which random choices
#
# A round stops the server, damages one index of each kind in $copies tables, and
# starts it again.  What was done in the last round is in the output.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use File::Copy;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{HM_FUZZ_SECONDS} || 7;
my $dim = 24;
my $copies = 6;
my $node = new_node('fuzz', <<CONF);
hnsw_mmap.background_merge = off
restart_after_crash = off
statement_timeout = 20s
fsync = off
max_wal_senders = 0
wal_level = minimal
CONF
my @tables;
my (%path, %good);

# Indexes with all there can be: two parts with patches, postings, tails, tombstones,
# a log with dead entries.
foreach my $copy (1 .. $copies)
{
	foreach my $vectors ('heap', 'fp16')
	{
		my $table = "${vectors}_$copy";

		fill($node, $table, $dim, 1, 300);
		$node->safe_psql('postgres', <<SQL);
INSERT INTO $table (id, v) SELECT 1000 + i, CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN array_fill(0::real, ARRAY[$dim]) ELSE hm_test.vec(7, $dim) END FROM generate_series(1, 20) AS i;
CREATE INDEX ${table}_v ON $table USING hnsw_mmap (v real_cosine_ops) WITH (m = 4, ef_construction = 40, vectors = '$vectors');
INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(301, 340) AS i;
SELECT hnsw_mmap_merge('${table}_v');
INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(341, 360) AS i;
DELETE FROM $table WHERE id % 20 = 3;
SQL
		$node->safe_psql('postgres', "VACUUM $table");
		push @tables, $table;
	}
}
$path{$_} = index_path($node, "${_}_v") foreach @tables;
$node->stop;
foreach my $table (@tables)
{
	$good{$table} = $node->basedir . "/$table";
	copy($path{$table}, $good{$table}) or die $!;
}

my @numbers = (0, 1, 2, 3, 4, 16, 255, 256, 300, 340, 360, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF);

# Damages a page, past the server's own header, most often where most is: the metapage
# and the beginnings of pages.  Returns what it did.
sub damage_page
{
	my ($page) = @_;
	my $at = 24 + choose(choose(2) ? 8168 : 600);
	my $what = choose(5);

	$at -= $at % 4 if choose(2);
	if ($what == 0) { vec($$page, $at * 8 + choose(8), 1) ^= 1; return "bit at $at" }
	if ($what == 1) { substr($$page, $at, 1) = chr(choose(256)); return "byte at $at" }
	if ($what == 2) { $at = 8188 if $at > 8188; substr($$page, $at, 4) = pack('L', $numbers[ choose(scalar @numbers) ]); return "number at $at" }
	if ($what == 3)
	{
		my $length = 1 + choose(64);
		$length = 8192 - $at if $at + $length > 8192;
		substr($$page, $at, $length) = join '', map { chr(choose(256)) } 1 .. $length;
		return "$length bytes at $at";
	}
	my $from = 24 + choose(8168);
	my $length = 1 + choose(8192 - ($from > $at ? $from : $at));
	substr($$page, $at, $length) = substr($$page, $from, $length);
	return "$length bytes from $from to $at";
}

sub damage_index
{
	my ($table) = @_;
	my $pages = block_count($good{$table});
	my @done;

	copy($good{$table}, $path{$table}) or die $!;
	for (my $n = 1 + choose(3); $n > 0; $n--)
	{
		my $block = choose(3) ? choose($pages) : 0;
		my $page = read_block($path{$table}, $block);
		# Between runs nothing is ever read.
		redo if $page !~ /[^\0]/;
		if (choose(12) == 0)
		{
			# a page of its own kind, elsewhere
			my $other = choose($pages);
			write_block($path{$table}, $block, read_block($good{$table}, $other));
			push @done, "block $block is block $other";
			next;
		}
		my $done = damage_page(\$page);
		my $sealed = choose(4) != 0;
		write_block($path{$table}, $block, $sealed ? seal_page($page) : $page);
		push @done, "block $block, $done" . ($sealed ? ', sealed' : '');
	}
	return "$table: " . join '; ', @done;
}

my $script = <<'SQL';
SET client_min_messages = error;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT count(*) FROM (SELECT id FROM TABLE ORDER BY v <=> hm_test.vec(1, DIM) LIMIT 10) AS s;
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT id FROM TABLE ORDER BY v <=> hm_test.vec(7, DIM)) AS s;
SELECT elements FROM hnsw_mmap_stats('TABLE_v');
SELECT elements FROM hnsw_mmap_check('TABLE_v', true);
BEGIN; INSERT INTO TABLE (id, v) VALUES (-1, hm_test.vec(-1, DIM)); ROLLBACK;
DELETE FROM TABLE WHERE id = ROUND;
VACUUM TABLE;
SELECT log_entries FROM hnsw_mmap_merge('TABLE_v');
SELECT count(*) FROM (SELECT id FROM TABLE ORDER BY v <=> hm_test.vec(2, DIM) LIMIT 10) AS s;
SELECT parts_folded FROM hnsw_mmap_merge('TABLE_v', true);
SELECT count(*) FROM (SELECT id FROM TABLE ORDER BY v <=> hm_test.vec(3, DIM)) AS s;
SELECT 'alive';
SQL

my $end = time + $seconds;
my ($rounds, $indexes, $bad) = (0, 0, 0);
while (time < $end && !$bad)
{
	my %done = map { $_ => damage_index($_) } @tables;

	$rounds++;
	$node->start(fail_ok => 1) or do { $bad++; diag("the server does not start: " . join "\n", values %done); last; };
	foreach my $table (@tables)
	{
		my ($out, $err);
		my $sql = $script;
		my $died = 0;

		$sql =~ s/TABLE/$table/g;
		$sql =~ s/DIM/$dim/g;
		$sql =~ s/ROUND/$rounds/g;
		$node->psql('postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 0, on_error_die => 0,
			timeout => 300, timed_out => \$died);
		$indexes++;
		next if !$died && ($out // '') =~ /^alive$/m;
		$bad++;
		diag(($died ? 'hangs: ' : 'the session ended: ') . "$done{$table}\n$err");
		last;
	}
	$node->stop('fast', fail_ok => 1);
}

is($bad, 0, "$indexes damaged indexes in $rounds rounds: errors or answers");
is(server_crashed($node), 0, 'no process died');
done_testing();
