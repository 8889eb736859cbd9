
=pod

=head1 NAME

HmTest - what the TAP tests of hnsw_mmap share

=head1 DESCRIPTION

Nodes with the extension and the regression tests' SQL helpers; comparison of
the index's answers with exact ones; the index's file, page by page.

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
  kill_server scratch_files background finish_background
  index_path read_block write_block block_count seal_page crc32c server_crashed);

my $seed = $ENV{HM_TEST_SEED} || 20240229;
srand($seed);
note("HM_TEST_SEED=$seed");

# new_node(NAME, SETTINGS, INIT_OPTIONS...): a started node with the extension
# in database postgres.  Autovacuum is off, so that tests decide.
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

	$node->safe_psql($database, "CREATE EXTENSION IF NOT EXISTS hnsw_mmap;\n$helpers");
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

# run_sql(NODE, SQL, [DATABASE]): (exit status, output, messages with SQLSTATE).
sub run_sql
{
	my ($node, $sql, $database) = @_;
	my ($out, $err);
	my $rc = $node->psql($database // 'postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 1,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	return ($rc, $out, $err);
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
