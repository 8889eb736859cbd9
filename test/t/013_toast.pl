# Vectors out of line (scenario 9), changed in a loop while the table and its TOAST
# table are vacuumed, the index is merged and once built anew beside it, and others
# read, one of them in an old snapshot: never "missing chunk", and answers are a
# sequential scan's.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use HmWorn;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# EXTERNAL, and beyond 2,000 bytes: each vector lies in the TOAST table.
my $dim = 700;
my $rows = 200;
my $seconds = 12;
my $node = new_node('toast', <<CONF);
hnsw_mmap.background_merge = on
hnsw_mmap.merge_log_entries = 30
CONF
my @tables = ('items_heap', 'items_fp16');

prepare_worn($node);
foreach my $table (@tables)
{
	fill($node, $table, $dim, 1, $rows);
	$node->safe_psql('postgres', <<SQL);
ALTER TABLE $table ALTER v SET STORAGE EXTERNAL;
ALTER TABLE $table ADD note text;
ALTER TABLE $table ALTER note SET STORAGE EXTERNAL;
UPDATE $table SET v = hm_test.vec(-id, $dim), note = repeat('.', 3000);
VACUUM (FULL) $table;
SET client_min_messages = error;
CREATE INDEX ${table}_v ON $table USING hnsw_mmap (v) WITH (vectors = '@{[ substr($table, 6) ]}', m = 8, ef_construction = 64);
SQL
	is($node->safe_psql('postgres', <<SQL), 't', "$table: vectors are out of line");
SELECT pg_relation_size(reltoastrelid) > $rows * $dim * 4 FROM pg_class WHERE oid = '$table'::regclass
SQL
}

# loop(TIMES, SQL...): a script that repeats statements; psql has no loop.
sub loop
{
	my ($times, @sql) = @_;

	return "SET hnsw_mmap.iterative_scan = relaxed_order;\n" . join('', map { "$_;\n" } (@sql) x $times);
}

# In the snapshot of its transaction: rows, and distances to the last bit.
my $same = <<SQL;
CREATE FUNCTION same(relation regclass, seed int) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
    d text := hm_test.distance('v', '<->', hm_test.vec(seed, $dim));
    i bigint[] := hm_test.indexed_ids(relation, d);
    e bigint[] := hm_test.exact_ids(relation, d);
    distances float8[] := hm_test.indexed(relation, d);
BEGIN
    IF i IS DISTINCT FROM e THEN
        RETURN format('missing %s, too many %s', ARRAY(SELECT unnest(e) EXCEPT ALL SELECT unnest(i)), ARRAY(SELECT unnest(i) EXCEPT ALL SELECT unnest(e)));
    ELSIF ARRAY(SELECT unnest(distances) ORDER BY 1) IS DISTINCT FROM hm_test.exact(relation, d) THEN
        RETURN 'other distances';
    END IF;
    RETURN 'same';
EXCEPTION WHEN raise_exception THEN
    -- A snapshot older than a REINDEX CONCURRENTLY may not use what that built
    -- where HOT chains were broken (pg_index.indcheckxmin): core's rule.
    IF sqlerrm NOT LIKE 'no hnsw_mmap index is used by: %' THEN RAISE; END IF;
    RETURN 'no index';
END
\$\$;
SQL
$node->safe_psql('postgres', $same);

# What is asked for again and again, each by a session of its own.
my %wanted = (
	# One session, as several would lock each other's rows in circles.
	'writes' => sub { ("UPDATE $_[0] SET v = hm_test.vec(nextval('hm_worn.ids'), $dim) WHERE id % 10 = (random() * 9)::int",
			"UPDATE $_[0] SET n = n + 1 WHERE id % 7 = (random() * 6)::int",
			"UPDATE $_[0] SET note = repeat('x', 3000 + n) WHERE id % 9 = (random() * 8)::int",
			live($_[0], $dim, 10) =~ s/;\n//r, "DELETE FROM $_[0] WHERE id > $rows AND random() < 0.3",
			'BEGIN', live($_[0], $dim, 10) =~ s/;\n//r, "UPDATE $_[0] SET v = hm_test.vec(id + 7, $dim) WHERE id % 20 = 3", 'ROLLBACK') },
	'VACUUM' => sub { ("VACUUM (INDEX_CLEANUP ON) $_[0]", "VACUUM (FREEZE, INDEX_CLEANUP ON) $_[1]") },
	'merges' => sub { ("SELECT log_entries FROM hnsw_mmap_merge('$_[0]_v')", "SELECT log_entries FROM hnsw_mmap_merge('$_[0]_v', random() < 0.3)") },
	'scans' => sub { ('BEGIN ISOLATION LEVEL REPEATABLE READ', "SELECT same('$_[0]', (random() * 1000)::int)", 'COMMIT') });

foreach my $table (@tables)
{
	my $toast = $node->safe_psql('postgres', "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '$table'::regclass");
	my $end = time + $seconds;
	my (%run, %times, @errors, @answers);

	# One snapshot as old as all of it, in which a cursor goes on, too.
	my $old = $node->background_psql('postgres', on_error_stop => 0);
	$old->query("SET hnsw_mmap.iterative_scan = relaxed_order; SET enable_seqscan = off; SET enable_sort = off; SET hnsw_mmap.ef_search = 10");
	$old->query("BEGIN ISOLATION LEVEL REPEATABLE READ; DECLARE c CURSOR FOR SELECT id, v <-> hm_test.vec(0, $dim) FROM $table ORDER BY v <-> hm_test.vec(0, $dim)");
	my @fetched = split /\n/, $old->query('FETCH 5 FROM c');

	# A snapshot keeps what is dead to others: for half of the time there is none
	# older than a statement, so that VACUUM takes away what it can.
	my ($reindexed, $ended) = (0, 0);
	while (time < $end || grep { $_->{handle}->pumpable } values %run)
	{
		foreach my $what (keys %wanted)
		{
			if ($run{$what})
			{
				my $run = $run{$what};
				$run->{handle}->pump_nb, next if $run->{handle}->pumpable;
				push @errors, "$what: $run->{err}" if !finish_background($run);
				push @answers, grep { /\S/ } split /\n/, $run->{out} if $what eq 'scans';
				delete $run{$what};
			}
			next if time > $end;
			$run{$what} = background($node, loop($what eq 'scans' ? 3 : 10, $wanted{$what}->($table, $toast)));
			$times{$what}++;
		}
		if (!$ended)
		{
			push @answers, 'old: ' . $old->query("SELECT same('$table', 1)") if !$ended;
			push @fetched, split /\n/, $old->query('FETCH 3 FROM c');
		}
		if (!$ended && time > $end - $seconds / 2)
		{
			push @fetched, split /\n/, $old->query('FETCH ALL FROM c');
			my @exact = split /\n/, $old->query("SET enable_indexscan = off; SET enable_seqscan = on; SET enable_sort = on;"
				  . "SELECT id, v <-> hm_test.vec(0, $dim) FROM $table ORDER BY 2, 1");
			is(join("\n", sort @fetched), join("\n", sort @exact), "$table: a cursor in an old snapshot");
			$old->query('COMMIT');
			$old->quit;
			$ended = 1;
		}
		if (!$reindexed && $ended)
		{
			my ($rc, $out, $err) = run_sql($node, "REINDEX INDEX CONCURRENTLY ${table}_v");
			push @errors, "REINDEX: $err" if $rc != 0;
			$reindexed = 1;
		}
		sleep 0.02;
	}
	note(join(', ', map { "$_: $times{$_} times" } sort keys %times));
	is(join("\n", grep { defined } @errors[ 0 .. 4 ]), '', "$table: no error");
	my %count;
	$count{$_}++ foreach @answers;
	note(join(', ', map { "$_: $count{$_}" } sort keys %count));
	is(join(' ', grep { !/^(old: )?same$|^no index$/ } keys %count), '', "$table: the rows and distances of a sequential scan");
	cmp_ok($count{same} // 0, '>', 5, "$table: of enough scans");
	cmp_ok($count{'old: same'} // 0, '>', 2, "$table: of some in an old snapshot");
	is(sound($node, $table, $dim), 'sound', "$table: sound");
	goes_on('afterwards', $node, $table, $dim);
	is($node->safe_psql('postgres', "VACUUM (FULL) $table; " . verdict_of($table, $dim)), 'sound', "$table: after VACUUM FULL");
}
is(join("\n", grep { /(missing|unexpected) chunk/ } split /\n/, slurp_file($node->logfile)), '', 'no chunk was ever missing');
ok(!server_crashed($node), 'the server never crashed');
$node->stop;

done_testing();
