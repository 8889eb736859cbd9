# Damaged index files (scenario 15): random bytes over a page, a truncated file,
# a forged metapage, forged links.  After a server restart (a good copy in shared
# buffers would hide the damage) queries, inserts and VACUUM raise an error that
# names the index and the block, or still give the right answer where the damage
# does not matter to them; the server keeps running.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use File::Copy;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 16;
my $node = new_node('corruption', "restart_after_crash = off\nfull_page_writes = off\nhnsw_mmap.background_merge = off\n");
my %tables = (items_heap => 'heap', items_fp16 => 'fp16');
my (%path, %good);

foreach my $table (sort keys %tables)
{
	fill($node, $table, $dim, 1, 4000);
	# NULLs and duplicates, so that every array of the format is in use.
	$node->safe_psql('postgres', <<SQL);
INSERT INTO $table (id) SELECT i FROM generate_series(4001, 4100) AS i;
INSERT INTO $table (id, v) SELECT i, hm_test.vec(7, $dim) FROM generate_series(4101, 4200) AS i;
CREATE INDEX ${table}_v ON $table USING hnsw_mmap (v) WITH (vectors = '$tables{$table}', m = 8, ef_construction = 64);
INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(4201, 4300) AS i;
DELETE FROM $table WHERE id % 10 = 0;
VACUUM $table;
SQL
	$path{$table} = index_path($node, "${table}_v");
}
$node->stop;
foreach my $table (keys %tables)
{
	$good{$table} = "$path{$table}.good";
	copy($path{$table}, $good{$table}) or die $!;
}

# Everything that reads the index.  Returns the errors, and whether all answers were right.
sub use_index
{
	my ($table) = @_;
	my (@errors, $right);
	my @statements = (
		"SET hnsw_mmap.ef_search = 400; SELECT hm_test.mismatches('$table', 'v', '<->', $dim) = 0",
		"SET hnsw_mmap.iterative_scan = relaxed_order;"
		  . "SELECT hm_test.indexed_ids('$table', d) = hm_test.exact_ids('$table', d) FROM hm_test.distance('v', '<->', hm_test.vec(0, $dim)) AS d",
		"SELECT elements >= 0 FROM hnsw_mmap_stats('${table}_v')",
		"INSERT INTO $table (id, v) VALUES (9999, hm_test.vec(9999, $dim)) RETURNING true",
		"DELETE FROM $table WHERE id IN (5, 9999) RETURNING true",
		"VACUUM (INDEX_CLEANUP on) $table");

	$right = 1;
	foreach my $statement (@statements)
	{
		my ($rc, $out, $err) = run_sql($node, $statement);
		if ($rc != 0) { push @errors, $err; }
		elsif ($out !~ /^(t\n?)*$/) { $right = 0; note("$statement: $out"); }
	}
	return ($right, @errors);
}

# damage(WHAT, TABLE, SUB, EXPECT): puts the good file back, lets SUB change it,
# starts the server and judges what it does.  EXPECT is 'error', 'error or right'
# or, where the forgery is a well-formed index with other contents, 'anything':
# wrong answers, but errors of the right kind and no crash.
sub damage
{
	my ($what, $table, $change, $expect) = @_;
	my $log_size = -s $node->logfile;

	copy($good{$table}, $path{$table}) or die $!;
	$change->($path{$table});
	$node->start;
	my ($right, @errors) = use_index($table);
	# A format that this release does not know is no corruption, and no block's fault.
	my $unknown = qr/ERROR:  0A000: index "${table}_v" has (format version \d+|\d+ parts), but this release/;
	my @bad = grep { !/ERROR:  XX00[12]: .*"${table}_v"/ && !/$unknown/ } @errors;
	my @blockless = grep { !/block \d+/ && !/$unknown/ } @errors;

	if (@errors)
	{
		my ($first) = split /\n/, $errors[0];
		note("$what: $first");
		is(join("\n", @bad), '', "$what: errors say corruption and name the index");
		is(join("\n", @blockless), '', "$what: errors name a block");
	}
	elsif ($expect eq 'error') { fail("$what: no error"); }
	else { ok($right || $expect eq 'anything', "$what: no error and right answers"); }
	is($node->safe_psql('postgres', 'SELECT 1'), '1', "$what: the server is up");
	$node->stop;
	my $log = substr(slurp_file($node->logfile), $log_size);
	unlike($log, qr/was terminated by signal|TRAP:|PANIC:/, "$what: no process died");
	# What the test wrote must not count against the next.
	copy($good{$table}, $path{$table}) or die $!;
	return;
}

sub random_bytes { return join '', map { chr choose(256) } 1 .. $_[0]; }

# Undamaged, everything works.
damage('no damage', 'items_heap', sub { }, 'error or right');
damage('no damage', 'items_fp16', sub { }, 'error or right');

# ---- random bytes ----

foreach my $table (sort keys %tables)
{
	my $blocks = block_count($good{$table});
	my %chosen = (0 => 1, 8 => 1, $blocks - 1 => 1);

	$chosen{ choose($blocks) } = 1 while keys %chosen < 8;
	foreach my $block (sort { $a <=> $b } keys %chosen)
	{
		damage("$table, block $block of $blocks random", $table, sub { write_block($_[0], $block, random_bytes(8192)) },
			$block == 0 ? 'error' : 'error or right');
	}
	damage("$table, block 0 zero", $table, sub { write_block($_[0], 0, "\0" x 8192) }, 'error');
	# The header is right, some byte of the data is not.
	my $links = 8 + choose(8);
	damage("$table, one byte of block $links changed", $table,
		sub {
			my $page = read_block($_[0], $links);
			substr($page, 1000, 1) = chr(ord(substr($page, 1000, 1)) ^ 0x10);
			write_block($_[0], $links, $page);
		}, 'error or right');
	# A page in another's place, a page of the other index.
	damage("$table, blocks exchanged", $table,
		sub {
			my ($a, $b) = (read_block($_[0], 8), read_block($_[0], 9));
			write_block($_[0], 8, $b);
			write_block($_[0], 9, $a);
		}, 'error');
	my ($other) = grep { $_ ne $table } keys %tables;
	damage("$table, block 8 of another index", $table, sub { write_block($_[0], 8, read_block($good{$other}, 8)) }, 'error');
	damage("$table, block 0 of another index", $table, sub { write_block($_[0], 0, read_block($good{$other}, 0)) }, 'error or right');
}

# ---- truncation ----

foreach my $table (sort keys %tables)
{
	my $blocks = block_count($good{$table});

	foreach my $size (0, 100, 8192, 8192 * 3 + 4000, 8192 * int($blocks / 2), 8192 * ($blocks - 1))
	{
		damage("$table, truncated to $size bytes", $table, sub { truncate($_[0], $size) or die $! },
			$size < 8192 * $blocks / 2 ? 'error' : 'error or right');
	}
}

# ---- a forged metapage: wrong numbers under a right CRC ----

# Offsets as in src/storage/format.h; the last column says whether an error is
# certain, or the number may not matter to an answer.
my $part = 176;
my $space = 3632;
my @forgeries = (
	[ 'magic', 24, 'L', 0x12345678, 1 ],
	[ 'format version 0', 28, 'S', 0, 1 ],
	[ 'format version 2', 28, 'S', 2, 1 ],
	[ 'kind', 30, 'S', 2, 1 ],
	[ 'incarnation', 32, 'Q', 42, 1 ],
	[ 'dimension 0', 64, 'L', 0, 0 ],
	[ 'dimension 17', 64, 'L', 17, 1 ],
	[ 'dimension 16001', 64, 'L', 16001, 1 ],
	[ 'dimension 2^32 - 1', 64, 'L', 0xFFFFFFFF, 1 ],
	[ 'metric 0', 68, 'C', 0, 1 ],
	[ 'metric 9', 68, 'C', 9, 1 ],
	[ 'element kind 0', 69, 'C', 0, 1 ],
	[ 'element kind 7', 69, 'C', 7, 1 ],
	[ 'vectors 0', 70, 'C', 0, 1 ],
	[ 'vectors 7', 70, 'C', 7, 1 ],
	[ 'm 0', 72, 'L', 0, 1 ],
	[ 'm 7', 72, 'L', 7, 1 ],
	[ 'm 2^31', 72, 'L', 0x80000000, 1 ],
	[ 'ef_construction 0', 76, 'L', 0, 0 ],
	[ 'log head beyond the file', 80, 'L', 1000000, 1 ],
	[ 'log head at the metapage', 80, 'L', 0, 1 ],
	[ 'log head in the graph', 80, 'L', 8, 1 ],
	[ 'log tail beyond the file', 84, 'L', 1000000, 1 ],
	[ 'log tail in the graph', 84, 'L', 9, 1 ],
	[ '17 parts', 92, 'L', 17, 1 ],
	[ '2^32 - 1 parts', 92, 'L', 0xFFFFFFFF, 1 ],
	[ 'two parts', 92, 'L', 2, 1 ],
	[ 'next part id, of a part', 104, 'L', 1, 1 ],
	[ 'log sequence', 112, 'L', 12345, 1 ],
	[ 'log reserve behind the end', 116, 'L', 1000000, 1 ],
	[ 'log reserve of 2^32 - 1', 120, 'L', 0xFFFFFFFF, 1 ],
	[ 'entry point beyond the elements', 124, 'L', 1000000, 1 ],
	[ 'entry point of the lowest level', 124, 'L', 3999, 0 ],
	[ 'no entry point', 124, 'L', 0xFFFFFFFF, 1 ],
	[ 'no blocks', 128, 'L', 0, 1 ],
	[ 'blocks not aligned', 128, 'L', 1001, 1 ],
	[ '2^26 blocks', 128, 'L', 0x4000000, 1 ],
	[ 'blocks that are lost', 132, 'L', 8, 1 ],
	[ '2^31 spaces', 136, 'L', 0x80000000, 1 ],
	[ 'space at the metapage', $space, 'L', 0, 1 ],
	[ 'space not aligned', $space, 'L', 1001, 1 ],
	[ 'space of no blocks', $space + 4, 'L', 0, 1 ],
	[ 'space of 2^32 - 8 blocks', $space + 4, 'L', 0xFFFFFFF8, 1 ],
	[ 'space of an unknown kind', $space + 8, 'L', 77, 1 ],
	[ 'scale 1000', 108, 'l', 1000, 0 ],
	[ 'scale -2^31', 108, 'l', -2147483648, 0 ],
	[ 'part id', $part, 'L', 77, 1 ],
	[ 'first element', $part + 4, 'L', 1, 1 ],
	[ 'element count + 1', $part + 8, 'L', 4001, 0 ],
	[ 'element count 2^32 - 1', $part + 8, 'L', 0xFFFFFFFF, 1 ],
	[ 'element count 0', $part + 8, 'L', 0, 1 ],
	[ 'posting count 2^32 - 1', $part + 12, 'L', 0xFFFFFFFF, 1 ],
	[ 'tail count 2^32 - 1', $part + 16, 'L', 0xFFFFFFFF, 1 ],
	[ 'patch count', $part + 20, 'L', 5, 1 ],
	[ 'patch slots', $part + 24, 'Q', 281474976710655, 1 ],
	[ 'level count 0', $part + 32, 'L', 0, 1 ],
	[ 'level count 1 too large', $part + 36, 'L', 0xFFFFFFF, 1 ],
	[ 'level counts that grow', $part + 40, 'L', 4000, 1 ],
	[ 'array page', $part + 96 + 4, 'L', 0xFFFFFFFF, 1 ],
	[ 'array pages out of order', $part + 96 + 8, 'L', 0, 1 ],
	[ 'largest norm NaN', $part + 136, 'L', 0x7FC00000, 0 ],
	[ 'largest norm negative', $part + 136, 'L', 0xBF800000, 0 ],
	[ 'tombstones at the metapage', $part + 140, 'L', 0, 1 ],
	[ 'tombstones beyond the file', $part + 140, 'L', 1000000, 1 ],
	[ 'tombstones in the graph', $part + 140, 'L', 8, 1 ],
	[ 'dead count', $part + 144, 'L', 0xFFFFFFFF, 0 ],
	[ 'no runs', $part + 148, 'L', 0, 1 ],
	[ '2^31 runs', $part + 148, 'L', 0x80000000, 1 ],
	[ 'run at the metapage', $part + 152, 'L', 0, 1 ],
	[ 'run beyond the file', $part + 152, 'L', 1000000, 1 ],
	[ 'run at the last block number', $part + 152, 'L', 0xFFFFFFFE, 1 ],
	[ 'run not aligned', $part + 152, 'L', 9, 1 ],
	[ 'run of no pages', $part + 156, 'L', 0, 1 ],
	[ 'run of 2^32 - 1 pages', $part + 156, 'L', 0xFFFFFFFF, 1 ]);

foreach my $forgery (@forgeries)
{
	my ($what, $offset, $type, $value, $certain) = @$forgery;

	damage("metapage: $what", 'items_fp16',
		sub {
			my $page = read_block($_[0], 0);
			my $bytes = pack($type, $value);
			substr($page, $offset, length $bytes) = $bytes;
			write_block($_[0], 0, seal_page($page));
		}, $certain ? 'error' : 'error or right');
}
# Everything random, under a right header and CRC.
foreach my $i (1 .. 3)
{
	damage("metapage: random directory $i", 'items_heap',
		sub {
			my $page = read_block($_[0], 0);
			substr($page, 64, 400) = random_bytes(400);
			write_block($_[0], 0, seal_page($page));
		}, 'error');
}

# ---- forged pages of the graph and the log, likewise under right CRCs ----

my %arrays = (0 => 'links', 1 => 'upper links', 2 => 'refs', 3 => 'postings', 4 => 'tail', 8 => 'vectors');
foreach my $table (sort keys %tables)
{
	my %first;

	foreach my $block (1 .. block_count($good{$table}) - 1)
	{
		my $page = read_block($good{$table}, $block);
		next unless unpack('L', substr($page, 24, 4)) == 0x4D4D4E48;
		my ($kind, $array) = (unpack('S', substr($page, 30, 2)), unpack('S', substr($page, 44, 2)));
		my $name = $kind == 2 ? $arrays{$array} : $kind == 3 ? 'log' : $kind == 4 ? 'long log entry' : 'tombstones';
		$first{$name} //= $block;
	}
	note("$table: " . join ', ', map { "$_ at $first{$_}" } sort keys %first);
	foreach my $name (sort keys %first)
	{
		foreach my $fill ([ 'random', undef ], [ 'all ones', "\xFF" ], [ 'zeros', "\0" ], [ 'large numbers', "\xFE\xFF\xFF\x7F" ])
		{
			damage("$table, $name: $fill->[0]", $table,
				sub {
					my $page = read_block($_[0], $first{$name});
					substr($page, 64) = defined $fill->[1] ? substr($fill->[1] x 8128, 0, 8128) : random_bytes(8128);
					write_block($_[0], $first{$name}, seal_page($page));
				}, 'anything');
		}
	}
}

# ---- hnsw_mmap_check: finds a bit that no query looks at, and says where ----

foreach my $table (sort keys %tables)
{
	# Blocks that hold anything: pages between runs are never read.
	my @used = grep { unpack('L', substr(read_block($good{$table}, $_), 24, 4)) == 0x4D4D4E48 }
	  0 .. block_count($good{$table}) - 1;

	foreach my $round (1 .. 8)
	{
		my $block = $used[ choose(scalar @used) ];
		my $bit = 24 * 8 + choose((8192 - 24) * 8);
		my $what = "$table, bit $bit of block $block changed";

		my $page = read_block($good{$table}, $block);
		vec($page, $bit, 1) ^= 1;
		write_block($path{$table}, $block, $page);
		$node->start;
		my ($rc, $out, $err) = run_sql($node, "SELECT * FROM hnsw_mmap_check('${table}_v')");
		# A version that this release does not know is no damage.
		like($err, qr/ERROR:  XX002: .*"${table}_v".* block $block\b|ERROR:  0A000: index "${table}_v" has format version/,
			"$what: check names it");
		$node->stop;
		copy($good{$table}, $path{$table}) or die $!;
	}

	# The good file raises no alarm.
	$node->start;
	is($node->safe_psql('postgres', "SELECT table_rows = (SELECT count(*) FROM $table) FROM hnsw_mmap_check('${table}_v', true)"),
		't', "$table, undamaged: check agrees");
	$node->stop;
}

# ---- files that shrink under running queries ----

foreach my $victim ('index', 'table')
{
	foreach my $table (sort keys %tables)
	{
		my $what = "$victim of $table truncated under a session";
		my $log_size = -s $node->logfile;

		$node->start;
		$node->safe_psql('postgres', "DROP TABLE IF EXISTS shrinking");
		fill($node, 'shrinking', 64, 1, 4000);
		$node->safe_psql('postgres', "CREATE INDEX shrinking_v ON shrinking USING hnsw_mmap (v) WITH (vectors = '$tables{$table}')");
		my $file = index_path($node, $victim eq 'index' ? 'shrinking_v' : 'shrinking');
		# Out of shared buffers, so that what is mapped is what is read.
		$node->restart;
		my $session = $node->background_psql('postgres', on_error_stop => 0);
		$session->query("SET enable_seqscan = off; SET enable_sort = off");
		my $near = "SELECT count(*) FROM (SELECT id FROM shrinking ORDER BY v <-> hm_test.vec(%d, 64) LIMIT 10) AS s";
		is(scalar $session->query(sprintf $near, 1), '10', "$what: before");
		$session->query("BEGIN; DECLARE near CURSOR FOR SELECT id FROM shrinking ORDER BY v <-> hm_test.vec(2, 64)");
		$session->query('FETCH 5 FROM near');
		truncate($file, 16384) or die $!;
		# The scan goes on where the file no longer is.
		my ($out, $error) = $session->query('MOVE 100000 IN near');
		my $message = $session->{stderr};
		ok($error, "$what: the open cursor raises an error") or note("answered: $out");
		like($message, qr/ERROR: /, "$what: an error like any other");
		$session->{stderr} = '';
		$session->query('ROLLBACK');
		foreach my $i (1 .. 3)
		{
			$session->query(sprintf $near, $i + 10);
			note($session->{stderr}) if $i == 1;
			$session->{stderr} = '';
		}
		is(scalar $session->query('SELECT 1'), '1', "$what: the session goes on");
		$session->quit;
		is($node->safe_psql('postgres', 'SELECT 1'), '1', "$what: so does the server");
		$node->stop('immediate');
		unlike(substr(slurp_file($node->logfile), $log_size), qr/was terminated by signal|TRAP:|PANIC:/, "$what: no process died");
		# Recovery brings the file back to what the log says; the next round drops it.
	}
}

done_testing();
