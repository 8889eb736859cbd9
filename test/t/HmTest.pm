
=pod

=head1 NAME

HmTest - what the TAP tests of hnsw_mmap share

=head1 DESCRIPTION

Nodes with the extension and the regression tests' SQL helpers; comparison of
the index's answers with exact ones; the index's file, page by page; processes
that pause, fail or die at a named point (test/modules/hm_inject).

Random choices come from C<choose>, seeded by HM_TEST_SEED in the environment or
a fixed number that is printed.

=cut

package HmTest;

use strict;
use warnings;

use Exporter 'import';
use File::Basename;
use File::Find;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(new_node prepare_database fill compare complete run_sql choose
  kill_server scratch_files background finish_background done_within
  verdict new_rows in_one_snapshot deaths new_injection_node inject release_point wait_paused wait_restarted
  index_path read_block write_block block_count seal_page crc32c server_crashed);

my $seed = $ENV{HM_TEST_SEED} || 20240229;
srand($seed);
note("HM_TEST_SEED=$seed");

# More SQL helpers.  hm_test.verdict(table, index, operator, dim, merged): 'sound', or what
# is wrong with an index: by a full check, by its account of blocks, by distances
# and rows that are not those of a sequential scan.  After a merge without others
# at work, the log is empty and no block is left over.
my $more_helpers = <<'SQL';
CREATE OR REPLACE FUNCTION hm_test.verdict(relation regclass, index regclass, operator text, dim int, merged bool)
RETURNS text LANGUAGE plpgsql SET hnsw_mmap.ef_search = 400 SET hnsw_mmap.iterative_scan = relaxed_order AS $$
DECLARE
    c record;
    far text := hm_test.distance('v', operator, hm_test.vec(0, dim));
    e bigint[] := hm_test.exact_ids(relation, far);
    i bigint[] := hm_test.indexed_ids(relation, far);
    wrong bigint := hm_test.mismatches(relation, 'v', operator, dim);
    found text[];
BEGIN
    SELECT * INTO c FROM hnsw_mmap_check(index, true);
    IF c.blocks_total <> c.blocks_metapage + c.blocks_parts + c.blocks_tombstones + c.blocks_log + c.blocks_free
        + c.blocks_retired + c.blocks_pending + c.blocks_lost + c.blocks_behind_end THEN
        found := found || format('blocks do not add up: %s', c);
    END IF;
    IF c.unreachable_share > 0.01 THEN
        found := found || format('%s of %s elements unreachable', c.unreachable, c.elements);
    END IF;
    IF merged AND (c.log_entries > 0 OR c.blocks_pending > 0 OR c.blocks_lost > 0) THEN
        found := found || format('after a merge: %s log entries, %s blocks pending, %s lost', c.log_entries, c.blocks_pending, c.blocks_lost);
    END IF;
    IF wrong > 0 THEN
        found := found || format('%s queries have other distances', wrong);
    END IF;
    IF e IS DISTINCT FROM i THEN
        found := found || format('rows missing %s, too many %s',
            ARRAY(SELECT unnest(e) EXCEPT ALL SELECT unnest(i)), ARRAY(SELECT unnest(i) EXCEPT ALL SELECT unnest(e)));
    END IF;
    RETURN coalesce(array_to_string(found, '; '), 'sound');
END
$$;

-- Rows for a table that fill made: most with vectors of their own, one in ten with
-- that of row 1, the fifth without any, the sixth with one that cosine cannot rank.
CREATE SEQUENCE IF NOT EXISTS hm_test.ids START 10000;
CREATE OR REPLACE FUNCTION hm_test.new_rows(relation regclass, n int, dim int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %s (id, v)
        SELECT id, CASE WHEN i %% 10 = 1 THEN hm_test.vec(1, %s) WHEN i = 5 THEN NULL WHEN i = 6 THEN array_fill(0::real, ARRAY[%s]) ELSE hm_test.vec(id, %s) END
          FROM (SELECT i, nextval(''hm_test.ids'') AS id FROM generate_series(1, %s) AS i) AS s', relation, dim, dim, dim, n);
END
$$;
SQL

# new_node(NAME, SETTINGS, INIT_OPTIONS...): a started node with the extension
# in database postgres.  Autovacuum is off, so that tests decide.  So is JIT: plans
# that are forced cost so much that it would compile each call of each function.
sub new_node
{
	my ($name, $settings, @init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(@init);
	$node->append_conf('postgresql.conf', <<CONF);
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 4GB
shared_buffers = 128MB
log_min_messages = warning
log_error_verbosity = verbose
jit = off
CONF
	$node->append_conf('postgresql.conf', $settings) if $settings;
	$node->start;
	prepare_database($node, 'postgres');
	return $node;
}

# The extension and the regression tests' helpers in a database.
sub prepare_database
{
	my ($node, $database) = @_;
	my $helpers = slurp_file(dirname(__FILE__) . '/../../sql/include/helpers.sql');

	$node->safe_psql($database, "CREATE EXTENSION IF NOT EXISTS hnsw_mmap;\n$helpers$more_helpers");
}

# fill(NODE, TABLE, DIM, FIRST, LAST): rows (id, v) with pseudo-random vectors;
# creates the table if FIRST is 1.
sub fill
{
	my ($node, $table, $dim, $first, $last) = @_;

	$node->safe_psql('postgres', "CREATE TABLE $table (id int PRIMARY KEY, n int DEFAULT 0, v real[])") if $first == 1;
	$node->safe_psql('postgres',
		"INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series($first, $last) AS i");
}

# compare(NODE, TABLE, DIM, [DATABASE]): how many of 20 queries give other
# distances than an exact scan; 'error: ...' if one fails.
sub compare
{
	my ($node, $table, $dim, $database) = @_;
	my ($rc, $out, $err) = run_sql($node,
		"SET hnsw_mmap.ef_search = 400; SELECT hm_test.mismatches('$table', 'v', '<->', $dim)", $database);

	return $rc == 0 ? $out : "error: $err";
}

# complete(NODE, TABLE, DIM, [DATABASE]): 't' if the index, asked for all rows,
# returns each row that a sequential scan returns, once.
sub complete
{
	my ($node, $table, $dim, $database) = @_;
	my ($rc, $out, $err) = run_sql($node, <<SQL, $database);
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT hm_test.indexed_ids('$table', d) IS NOT DISTINCT FROM hm_test.exact_ids('$table', d)
  FROM hm_test.distance('v', '<->', hm_test.vec(0, $dim)) AS d
SQL
	return $rc == 0 ? $out : "error: $err";
}

# verdict(NODE, TABLE, DIM, [OPERATOR, [MERGED]]): what hm_test.verdict says of
# index TABLE_v, or 'error: ...'.
sub verdict
{
	my ($node, $table, $dim, $operator, $merged) = @_;
	my ($rc, $out, $err) = run_sql($node, sprintf(q{SELECT hm_test.verdict('%s', '%s_v', '%s', %d, %s)},
			$table, $table, $operator // '<->', $dim, $merged ? 'true' : 'false'));

	return $rc == 0 ? $out : "error: $err";
}

# new_rows(TABLE, DIM, N): the statement that inserts N rows of several kinds.
sub new_rows
{
	my ($table, $dim, $n) = @_;

	return "SELECT hm_test.new_rows('$table', $n, $dim);\n";
}

# in_one_snapshot(TABLE, DIM, OPERATOR): statements that print 'right' if the index,
# asked for all rows, returns those of a sequential scan.  The first thing they do
# is the scan of the index.
sub in_one_snapshot
{
	my ($table, $dim, $operator) = @_;

	return <<SQL;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL hnsw_mmap.iterative_scan = relaxed_order;
SET LOCAL hnsw_mmap.ef_search = 40;
SELECT CASE WHEN hm_test.indexed_ids('$table', d) IS NOT DISTINCT FROM hm_test.exact_ids('$table', d) THEN 'right' ELSE 'wrong' END
  FROM hm_test.distance('v', '$operator', hm_test.vec(0, $dim)) AS d;
COMMIT;
SQL
}

# run_sql(NODE, SQL, [DATABASE]): (exit status, output, messages with SQLSTATE).  A
# psql that cannot connect may end before it was given the statements.
sub run_sql
{
	my ($node, $sql, $database) = @_;
	my ($out, $err);
	my $rc = eval {
		$node->psql($database // 'postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 1,
			extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	};

	return ($rc, $out, $err) if defined $rc;
	die $@ if $@ !~ /Broken pipe/;
	return (2, '', $err // $@);
}

# choose(N): a number from 0 to N - 1.
sub choose { return int(rand($_[0])); }

# Every process of the server dies at once, as in a power cut that spares the
# operating system.
sub kill_server
{
	my ($node) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @children;

	# Stopped, it can start no further process while we look.
	kill 'STOP', $postmaster;
	foreach my $stat (glob '/proc/[0-9]*/stat')
	{
		open(my $fh, '<', $stat) or next;
		my $line = <$fh> // '';
		close $fh;
		# The name may hold spaces and parentheses: split behind the last one.
		next unless $line =~ /^(\d+) .*\) \S (\d+) /;
		push @children, $1 if $2 == $postmaster;
	}
	kill 'KILL', @children;
	$node->kill9;
	# Their shared memory must be free before a new server can start.
	foreach my $pid (@children)
	{
		for (1 .. 500) { last unless kill 0, $pid; sleep 0.01; }
	}
}

# Files that builds and sorts leave in the data directory's temporary places.
sub scratch_files
{
	my ($node) = @_;
	my @found;

	find({ wanted => sub { push @found, $File::Find::name if $File::Find::dir =~ m{/pgsql_tmp(/|$)} && -f $_ },
			no_chdir => 1, follow_fast => 1, follow_skip => 2 }, $node->data_dir);
	return @found;
}

# background(NODE, SQL): starts psql with the statements and does not wait.  They
# are in a file, so that nobody has to feed them to it.
my $background_files = 0;

sub background
{
	my ($node, $sql, $database) = @_;
	my $run = { out => '', err => '' };
	my $file = $node->basedir . '/background' . $background_files++ . '.sql';

	append_to_file($file, $sql);
	$run->{handle} = IPC::Run::start(
		[ 'psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose',
			'-d', $node->connstr($database // 'postgres'), '-f', $file ],
		'<', \undef, '>', \$run->{out}, '2>', \$run->{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $run;
}

# Waits for it; true if it succeeded.  Its output is in {out} and {err}.
sub finish_background
{
	my ($run) = @_;

	$run->{handle}->finish;
	return $run->{handle}->result(0) == 0;
}

# done_within(RUN, SECONDS): true if the background statements end in that time,
# well or badly.  The caller still has to finish them.
sub done_within
{
	my ($run, $seconds) = @_;
	my $end = time + $seconds;

	while ($run->{handle}->pumpable)
	{
		$run->{handle}->pump_nb;
		return 0 if time > $end;
		sleep 0.01;
	}
	return 1;
}

# Like new_node, of a server whose processes can be made to pause, fail or die.
# It restarts by itself when one died.  Who waits for ever fails.
sub new_injection_node
{
	my ($name, $settings, @init) = @_;
	my $node = new_node($name, "shared_preload_libraries = 'hm_inject'\nrestart_after_crash = on\nstatement_timeout = 60s\n" . ($settings // ''), @init);

	$node->safe_psql('postgres', 'CREATE EXTENSION hm_inject');
	return $node;
}

# inject(NODE, POINT, ACTION, [SKIP]): arms a point; see hm_inject.c.
sub inject
{
	my ($node, $point, $action, $skip) = @_;

	$node->safe_psql('postgres', sprintf(q{SELECT hm_inject('%s', '%s', %d)}, $point, $action, $skip // 0));
}

sub release_point
{
	my ($node, $point) = @_;

	$node->safe_psql('postgres', "SELECT hm_inject_release('$point')");
}

# wait_paused(NODE, POINT): true as soon as a process is paused there.  Asks anew
# each time: a session that sleeps in a statement has a snapshot, and with it keeps
# retired space from being used again.
sub wait_paused
{
	my ($node, $point) = @_;
	my $end = time + 20;

	while (time < $end)
	{
		return 1 if $node->safe_psql('postgres', "SELECT hm_inject_waiting('$point')") > 0;
		sleep 0.02;
	}
	# Nobody else shall pause there.
	release_point($node, $point);
	return 0;
}

# How many processes of the server have been killed so far.
sub deaths
{
	my ($node) = @_;

	return scalar(() = slurp_file($node->logfile) =~ /was terminated by signal 9/g);
}

# wait_restarted(NODE, DEATHS): waits until a server that has lost a process, and
# had lost DEATHS before, has recovered.  Until the postmaster has seen it, the
# server still takes connections, and ends them then.
sub wait_restarted
{
	my ($node, $deaths) = @_;

	for (1 .. 1800) { last if deaths($node) > $deaths; sleep 0.1; }
	for (1 .. 1800)
	{
		my ($rc) = run_sql($node, 'SELECT 1');
		return 1 if $rc == 0;
		sleep 0.1;
	}
	return 0;
}

# Where a relation lies, and its pages in the file (first segment only).
sub index_path
{
	my ($node, $relation) = @_;

	return $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$relation')");
}

sub block_count { return (-s $_[0]) / 8192; }

sub read_block
{
	my ($path, $block) = @_;
	my $page;

	open(my $fh, '<:raw', $path) or die "$path: $!";
	seek($fh, $block * 8192, 0) or die "$path: $!";
	read($fh, $page, 8192) == 8192 or die "$path: block $block is not there";
	close $fh;
	return $page;
}

sub write_block
{
	my ($path, $block, $page) = @_;

	open(my $fh, '+<:raw', $path) or die "$path: $!";
	seek($fh, $block * 8192, 0) or die "$path: $!";
	print $fh $page or die "$path: $!";
	close $fh or die "$path: $!";
}

my @crc_table = map {
	my $crc = $_;
	$crc = $crc & 1 ? ($crc >> 1) ^ 0x82F63B78 : $crc >> 1 for 1 .. 8;
	$crc
} 0 .. 255;

# CRC-32C (Castagnoli), as pg_crc32c computes it.
sub crc32c
{
	my ($bytes) = @_;
	my $crc = 0xFFFFFFFF;

	$crc = $crc_table[ ($crc ^ $_) & 0xFF ] ^ ($crc >> 8) foreach unpack('C*', $bytes);
	return $crc ^ 0xFFFFFFFF;
}

# A page with the CRC of the format (src/storage/format.h): over bytes 24-59 and
# 64-8191, stored at 60.  A forger can do the same.
sub seal_page
{
	my ($page) = @_;

	substr($page, 60, 4) = pack('L', crc32c(substr($page, 24, 36) . substr($page, 64)));
	return $page;
}

# True if a server process died or an assertion failed, by the node's log.
sub server_crashed
{
	my ($node) = @_;
	my $log = slurp_file($node->logfile);
	my @lines = grep { /was terminated by signal|TRAP:|PANIC:|terminating any other active server processes/ } split /\n/, $log;

	note($_) foreach @lines;
	return scalar @lines;
}

1;
