# Attached vector files that others write to, truncate, replace and take away; a
# standby, dump and restore, mappings that go with the transaction.

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $dim = 64;
my $node = new_node('files', "wal_level = replica\nmax_wal_senders = 4\n", allows_streaming => 1);
my $dir = $node->basedir . '/vectors';
mkdir $dir or die "$dir: $!";

# Row i of every file here.
sub row { my ($i) = @_; return map { ($i * 7 + $_ * 3) % 17 } 1 .. $dim; }

sub rows { my ($first, $last) = @_; return join '', map { pack('f<*', row($_)) } $first .. $last; }

sub npy
{
	my ($rows, $body) = @_;
	my $header = sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", $rows, $dim);

	$header .= ' ' x (63 - (10 + length $header) % 64) . "\n";
	return "\x93NUMPY\x01\x00" . pack('v', length $header) . $header . $body;
}

# Writes into the file that is there, or makes it.
sub write_file
{
	my ($name, $content, $mode) = @_;

	open(my $fh, $mode // '>', "$dir/$name") or die "$dir/$name: $!";
	binmode $fh;
	print $fh $content;
	close $fh or die "$dir/$name: $!";
}

# Another file under that name, as a program does that writes carefully.
sub replace_file
{
	my ($name, $content) = @_;

	write_file("$name.new", $content);
	rename "$dir/$name.new", "$dir/$name" or die $!;
}

sub digest { my ($name) = @_; return md5_hex(slurp_file("$dir/$name")); }

# What a query gives, or its SQLSTATE and message, without the directory.
sub result
{
	my ($sql, $on) = @_;
	my ($rc, $out, $err) = run_sql($on // $node, $sql);

	return $out if $rc == 0;
	$err =~ s/^psql:<stdin>:\d+: //mg;
	$err =~ s/\Q$dir\E/DIR/g;
	return $err =~ /ERROR:\s+(.*)/ ? $1 : $err;
}

my $whole = npy(2000, rows(0, 1999));
write_file('a.npy', $whole);
write_file('b.npy', npy(100, rows(0, 99)));

# The dump of a server that was made by hand, its number being a hash of the name,
# and of one whose name needs quotes.
$node->safe_psql('postgres', <<SQL);
SELECT hnsw_mmap_attach('a', '$dir/a.npy');
SELECT hnsw_mmap_attach('File "B"', '$dir/b.npy');
CREATE SERVER by_hand FOREIGN DATA WRAPPER hnsw_mmap_file OPTIONS (path '$dir/b.npy');
CREATE ROLE reader;
GRANT USAGE ON FOREIGN SERVER a TO reader;
CREATE TABLE items (id int PRIMARY KEY, v extvec);
INSERT INTO items SELECT i, hnsw_mmap_extvec('a', i) FROM generate_series(0, 1999) AS i;
CREATE TABLE others (id int, v extvec DEFAULT 'by_hand:5');
INSERT INTO others SELECT i, hnsw_mmap_extvec('File "B"', i) FROM generate_series(0, 99) AS i;
INSERT INTO others (id) VALUES (100);
INSERT INTO others VALUES (101, '#12345:6');
CREATE VIEW near AS SELECT id, v <-> 'a:3' AS distance FROM items;
CREATE INDEX items_v ON items USING hnsw_mmap (v) WITH (m = 8, ef_construction = 64);
GRANT SELECT ON items TO reader;
SQL

# ---- Dump and restore ----

my $facts = <<'SQL';
SELECT count(*), sum(v <-> 'a:3'), (SELECT sum(distance) FROM near), (SELECT string_agg(v::text, ' ' ORDER BY id) FROM others),
       (SELECT sum(v <-> 'a:3') FROM others WHERE id <= 100), (SELECT string_agg(srvname || ' ' || number, ',' ORDER BY srvname) FROM pg_foreign_server JOIN hnsw_mmap_files ON srvname = name)
  FROM items;
SET enable_seqscan = off; SET enable_sort = off;
SELECT array_agg(id) FROM (SELECT id FROM items ORDER BY v <-> 'a:1234', id LIMIT 1) AS s;
SET ROLE reader;
SELECT v::real[] FROM items WHERE id = 7;
SQL
my $expected = $node->safe_psql('postgres', $facts);
like($expected, qr/^2000\|.*"File ""B""":0 .*by_hand:5 #12345:6\|/, 'values as they are written');

foreach my $jobs (1, 4)
{
	my $dump = $node->basedir . "/dump$jobs";
	my $database = "restored$jobs";

	command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-Fd', '-j', $jobs, '-f', $dump ], "dump with $jobs jobs");
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	command_ok([ 'pg_restore', '-d', $node->connstr($database), '-j', $jobs, '--exit-on-error', $dump ], "restore with $jobs jobs");
	is($node->safe_psql($database, $facts), $expected, 'what was restored');
}

# Where the files are not, all but the index is restored, and stays what it is.
rename $dir, "$dir.away" or die $!;
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere TEMPLATE template0');
command_fails_like([ 'pg_restore', '-d', $node->connstr('elsewhere'), $node->basedir . '/dump1' ],
	qr/could not open file .* of server "a": No such file.*errors ignored on restore: 1\b/s, 'restore without the files');
is($node->safe_psql('elsewhere', 'SELECT count(*), (SELECT v FROM items ORDER BY v LIMIT 1), (SELECT count(*) FROM others) FROM items'), '2000|a:0|102', 'what is there without the files');
is($node->safe_psql('elsewhere', q{SELECT count(*) FROM hnsw_mmap_files WHERE problem LIKE '%No such file%'}), '3', 'the view says which are missing');
is(result('SELECT v::real[] FROM items LIMIT 1'), '58P01: could not open file "DIR/a.npy" of server "a": No such file or directory', 'a missing file');
is(result(q{SELECT id FROM items ORDER BY v <-> array_fill(1::real, ARRAY[64]) LIMIT 1}),
	'58P01: could not open file "DIR/a.npy" of server "a": No such file or directory', 'a missing file, by the index');
rename "$dir.away", $dir or die $!;
is($node->safe_psql('elsewhere', q{SELECT sum(v <-> 'a:3') FROM items}), (split /\|/, $expected)[1], 'when they are there again');

# ---- A standby ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('files_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $facts), $expected, 'on a standby');
is(result('SELECT hnsw_mmap_attach(\'a\')', $standby), '25006: cannot execute hnsw_mmap_attach() in a read-only transaction', 'nothing is attached on a standby');
rename "$dir/a.npy", "$dir/away" or die $!;
is(result('SELECT v::real[] FROM items LIMIT 1', $standby), '58P01: could not open file "DIR/a.npy" of server "a": No such file or directory', 'a standby without the file');
rename "$dir/away", "$dir/a.npy" or die $!;
is($standby->safe_psql('postgres', $facts), $expected, 'a standby with the file again');

# A session of the standby sees that the file was attached again.
my $session = IPC::Run::start([ 'psql', '-X', '-A', '-t', '-q', '-d', $standby->connstr('postgres') ], '<', \my $in, '>', \my $out, '2>', \my $err,
	IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
sub ask
{
	my ($sql) = @_;

	$out = $err = '';
	$in = "$sql\n\\echo done\n\\warn done\n";
	$session->pump until $out =~ /^done$/m && $err =~ /^done$/m;
	$out =~ s/^done\n//m;
	chomp $out;
	return $out ne '' ? $out : $err;
}
is(ask(q{SELECT count(*) FROM (SELECT 'a:1999'::extvec::real[]) AS s;}), '1', 'the last row');
like(ask(q{SELECT 'a:2000'::extvec::real[];}), qr/file of server "a" has no row 2000/, 'a row beyond it');
write_file('a.npy', npy(2100, rows(0, 2099)));
like(ask(q{SELECT 'a:2000'::extvec::real[];}), qr/file of server "a" has no row 2000/, 'a file that has grown');
is($node->safe_psql('postgres', q{SELECT rows FROM hnsw_mmap_attach('a')}), '2100', 'it is attached again');
$node->wait_for_catchup($standby);
is(ask(q{SELECT 'a:2099'::extvec::real[] = 'a:2082'::extvec::real[], 'a:0'::extvec <-> 'a:1' > 0;}), 't|t', 'the standby sees it');
$in = "\\q\n";
$session->finish;
$standby->stop;

# ---- Truncated in the middle of a statement ----

# hold(N): takes an advisory lock; the function returned gives it back.
sub hold
{
	my ($number) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $holder = IPC::Run::start([ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	$in = "SELECT pg_advisory_lock($number);\n\\echo held\n";
	$holder->pump until $out =~ /held/;
	return sub { $in = "\\q\n"; $holder->finish; };
}

# Waits until somebody else wants that lock.
sub wait_wanted
{
	my ($number) = @_;

	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = $number AND NOT granted")
	  or die "nobody waits for lock $number";
}

# Two pages of the file are left.
sub cut_file { truncate "$dir/a.npy", 8192 or die $!; }

# One statement of the client: it reads a row, waits for a lock that we hold, and
# reads one that is not there any more.
sub truncated
{
	my ($what, $before, $after) = @_;
	my $release = hold(1);
	my $run = background($node, "SET enable_seqscan = off;\nDO \$\$ BEGIN PERFORM $before; PERFORM pg_advisory_lock(1); PERFORM $after; END \$\$;");

	wait_wanted(1);
	cut_file();
	$release->();
	ok(!finish_background($run), "$what fails");
	like($run->{err}, qr/ERROR:  58030: could not read the file of server "a"\n.*DETAIL:  It was truncated while it was in use, or its disk failed\./s, "$what says why");
	write_file('a.npy', npy(2100, rows(0, 2099)));
}

truncated('a cast', q{'a:0'::extvec::real[]}, q{'a:1999'::extvec::real[]});
truncated('a distance', q{'a:0'::extvec <-> 'a:1'}, q{'a:2'::extvec <=> 'a:1999'});
truncated('a distance from an array', q{'a:0'::extvec::real[]}, q{array_fill(1::real, ARRAY[64]) <#> 'a:1999'::extvec});
truncated('a search', q{id FROM items ORDER BY v <-> 'a:5' LIMIT 1}, q{id FROM items ORDER BY v <-> array_fill(1::real, ARRAY[64]) LIMIT 200});

# A session survives faults that it catches, and reads the file when it is there again.
{
	my $release = hold(1);
	my $release_second = hold(2);
	my $run = background($node, <<'SQL');
CREATE FUNCTION pg_temp.try() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN 'row ' || ('a:1999'::extvec::real[])[1];
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
SELECT pg_temp.try(), pg_advisory_lock(1), pg_temp.try(), pg_temp.try();
SELECT pg_temp.try(), pg_advisory_lock(2);
SELECT pg_temp.try();
SQL

	wait_wanted(1);
	cut_file();
	$release->();
	wait_wanted(2);
	write_file('a.npy', npy(2100, rows(0, 2099)));
	$release_second->();
	ok(finish_background($run), 'faults that are caught') or note($run->{err});
	# once the fault, then it is known to be too short
	is($run->{out}, "row 5||58030|55000\n55000|\nrow 5\n", 'what a session sees of a file that is truncated');
}

# ---- Replaced ----

# How many mappings of the file a session has, also of a deleted one.  Of row 0 the
# first component is 3, of row 1 it is 10.
my $mappings = q{SELECT count(*) AS mappings FROM regexp_split_to_table(pg_read_file('/proc/' || pg_backend_pid() || '/maps'), '\n') AS line WHERE line LIKE '%/vectors/b.npy%';};
my $first = q{SELECT ('by_hand:0'::extvec::real[])[1] AS first;};
foreach my $end ('COMMIT', 'ROLLBACK')
{
	replace_file('b.npy', npy(100, rows(0, 99)));
	write_file('replacement', npy(100, rows(1, 100)));
	is($node->safe_psql('postgres', <<SQL), "0\n3\n1\n10\n2\n1\n10", "replaced in a transaction: $end");
$mappings
BEGIN;
$first
$mappings
\\! mv "$dir/replacement" "$dir/b.npy"
$first
$mappings
$end;
$mappings
$first
SQL
}

# ---- Appended to ----

# Rows are written before the header says so, and the other way round; both leave the
# rows that were there when it was attached.
write_file('c.fvecs', join '', map { pack('Vf<*', $dim, row($_)) } 0 .. 9);
write_file('d.npy', npy(10, rows(0, 9)));
$node->safe_psql('postgres', "SELECT hnsw_mmap_attach(f, '$dir/' || f) FROM unnest(ARRAY['c.fvecs', 'd.npy']) AS f");
write_file('c.fvecs', pack('Vf<*', $dim, row(10)) . 'part of a row', '>>');
write_file('d.npy', npy(12, rows(0, 9)) . 'part of a row');
is($node->safe_psql('postgres', q{SELECT '"c.fvecs":9'::extvec <-> 'a:9', '"d.npy":9'::extvec <-> 'a:9'}), '0|0', 'files that somebody appends to');
is(result(q{SELECT '"c.fvecs":10'::extvec::real[]}), '22003: file of server "c.fvecs" has no row 10', 'rows that were not there when it was attached');
is(result(q{SELECT hnsw_mmap_attach('c.fvecs')}), '22000: file "DIR/c.fvecs" of server "c.fvecs" cannot be read as fvecs', 'a part of a row is not attached');
is(result(q{SELECT hnsw_mmap_attach('d.npy')}), '22000: file "DIR/d.npy" of server "d.npy" cannot be read as npy', 'nor are rows that are not there');
write_file('c.fvecs', join '', map { pack('Vf<*', $dim, row($_)) } 0 .. 11);
write_file('d.npy', npy(12, rows(0, 11)));
is($node->safe_psql('postgres', q{SELECT rows FROM unnest(ARRAY['c.fvecs', 'd.npy']::name[]) AS f, hnsw_mmap_attach(f)}), "12\n12", 'whole again');

# ---- What stands in a file's place ----

foreach my $kind ('directory', 'fifo', 'socket')
{
	unlink "$dir/d.npy";
	if ($kind eq 'directory') { mkdir "$dir/d.npy" or die $!; }
	elsif ($kind eq 'fifo') { rmdir "$dir/d.npy"; system('mkfifo', "$dir/d.npy") == 0 or die; }
	else { require IO::Socket::UNIX; IO::Socket::UNIX->new(Local => "$dir/d.npy", Listen => 1) or die $!; }
	is(result(q{SELECT '"d.npy":0'::extvec::real[]}), '42809: "DIR/d.npy" of server "d.npy" is not a regular file', "a $kind");
}
unlink "$dir/d.npy";
symlink "$dir/a.npy", "$dir/d.npy" or die $!;
is($node->safe_psql('postgres', q{SELECT '"d.npy":5'::extvec <-> 'a:5'}), '0', 'a symbolic link');
SKIP:
{
	skip 'root may read everything', 1 if $> == 0;
	unlink "$dir/d.npy";
	write_file('d.npy', npy(12, rows(0, 11)));
	chmod 0, "$dir/d.npy";
	is(result(q{SELECT '"d.npy":0'::extvec::real[]}), '42501: could not open file "DIR/d.npy" of server "d.npy": Permission denied', 'a file that may not be read');
}

# ---- Never written ----

chmod 0444, "$dir/a.npy";
my ($before, $modified) = (digest('a.npy'), (stat "$dir/a.npy")[9]);
is((split /\|/, $node->safe_psql('postgres', "REINDEX INDEX items_v; DELETE FROM items WHERE id % 2 = 0; VACUUM items; $facts"))[0], '1000', 'a file that nobody may write');
is(digest('a.npy') . (stat "$dir/a.npy")[9], "$before$modified", 'the file is as it was');

# ---- pg_upgrade, to a new cluster of the same version ----

$expected = $node->safe_psql('postgres', $facts);
$node->safe_psql('postgres', "DROP DATABASE $_") foreach 'restored1', 'restored4', 'elsewhere';
$node->stop;
ok(!server_crashed($node), 'the server never crashed');
my $new = PostgreSQL::Test::Cluster->new('files_upgraded');
$new->init;
chdir $node->basedir or die $!;
my $bin = $node->config_data('--bindir');
command_ok(
	[ 'pg_upgrade', '--no-sync', '-d', $node->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin,
		'-s', $node->host, '-p', $node->port, '-P', $new->port, '-U', scalar(getpwuid($<)) ],
	'pg_upgrade');
$new->start;
is($new->safe_psql('postgres', $facts), $expected, 'after pg_upgrade');
$new->stop;
done_testing();
