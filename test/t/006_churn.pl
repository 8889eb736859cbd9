# Writers, readers and VACUUM at the same time (scenarios 8 and 10): no error,
# and in any snapshot the index, asked for all rows, returns exactly the rows of
# a sequential scan.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{HM_CHURN_SECONDS} || 20;
my $dim = 12;
my $node = new_node('churn', "max_connections = 60\ndeadlock_timeout = 10s\n");

foreach my $mode ('heap', 'fp16')
{
	fill($node, "items_$mode", $dim, 1, 3000);
	$node->safe_psql('postgres', "CREATE INDEX items_${mode}_v ON items_$mode USING hnsw_mmap (v) WITH (vectors = '$mode', m = 8, ef_construction = 64)");
}
# Rows that nobody touches must be found by everybody, always.
$node->safe_psql('postgres', "CREATE SEQUENCE new_id START 10000");

my $directory = $node->basedir;

sub script
{
	my ($name, $text) = @_;

	open(my $fh, '>', "$directory/$name.sql") or die $!;
	print $fh $text;
	close $fh;
	return "$directory/$name.sql";
}

my (@writers, @readers);
foreach my $table ('items_heap', 'items_fp16')
{
	push @writers, script("insert_$table", <<SQL);
\\set n random(1, 20)
INSERT INTO $table (id, v) SELECT nextval('new_id'), hm_test.vec(nextval('new_id'), $dim) FROM generate_series(1, :n);
SQL
	push @writers, script("undo_$table", <<SQL);
BEGIN;
INSERT INTO $table (id, v) SELECT nextval('new_id'), hm_test.vec(nextval('new_id'), $dim) FROM generate_series(1, 5);
SAVEPOINT s;
DELETE FROM $table WHERE id IN (SELECT id FROM $table WHERE id >= 2000 LIMIT 5 FOR UPDATE SKIP LOCKED);
ROLLBACK TO s;
ROLLBACK;
SQL
	push @writers, script("delete_$table", <<SQL);
DELETE FROM $table WHERE id IN (SELECT id FROM $table WHERE id >= 2000 ORDER BY random() LIMIT 10 FOR UPDATE SKIP LOCKED);
SQL
	push @writers, script("update_$table", <<SQL);
\\set k random(1, 1000000)
UPDATE $table SET v = hm_test.vec(:k, $dim) WHERE id IN (SELECT id FROM $table WHERE id >= 2000 ORDER BY random() LIMIT 3 FOR UPDATE SKIP LOCKED);
UPDATE $table SET n = n + 1 WHERE id IN (SELECT id FROM $table WHERE id >= 2000 ORDER BY random() LIMIT 5 FOR UPDATE SKIP LOCKED);
SQL
	push @readers, script("read_$table", <<SQL);
\\set k random(1, 1000000)
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT churn_check('$table', :k);
COMMIT;
SQL
}
# Raises an error where the index is wrong: pgbench reports it and stops.
$node->safe_psql('postgres', <<SQL);
CREATE FUNCTION churn_check(relation regclass, k int) RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE
    d text := hm_test.distance('v', '<->', hm_test.vec(k, $dim));
    e bigint[];
    i bigint[];
    distances float8[];
BEGIN
    SET LOCAL hnsw_mmap.iterative_scan = relaxed_order;
    e := hm_test.exact_ids(relation, d);
    i := hm_test.indexed_ids(relation, d);
    IF e IS DISTINCT FROM i THEN
        RAISE EXCEPTION 'index of %, query %: missing %, too many %', relation, k,
            ARRAY(SELECT unnest(e) EXCEPT ALL SELECT unnest(i)), ARRAY(SELECT unnest(i) EXCEPT ALL SELECT unnest(e));
    END IF;
    SET LOCAL hnsw_mmap.iterative_scan = strict_order;
    SET LOCAL hnsw_mmap.ef_search = 40;
    distances := hm_test.indexed(relation, d, 10);
    IF cardinality(distances) <> 10 OR distances <> ARRAY(SELECT unnest(distances) ORDER BY 1) THEN
        RAISE EXCEPTION 'index of %, query %: ten rows in order expected, not %', relation, k, distances;
    END IF;
EXCEPTION WHEN raise_exception THEN
    -- A snapshot older than a REINDEX CONCURRENTLY may not use what that built
    -- where HOT chains were broken (pg_index.indcheckxmin): core's rule.
    IF sqlerrm NOT LIKE 'no hnsw_mmap index is used by: %' THEN RAISE; END IF;
END
\$\$;
SQL

# pgbench ends with an error as soon as one of its clients meets one.
sub bench
{
	my ($name, $clients, @scripts) = @_;
	my $run = { out => '', err => '', name => $name };

	$run->{handle} = IPC::Run::start(
		[ 'pgbench', '-n', '-T', $seconds, '-c', $clients, '-j', '2', '--random-seed=' . (choose(1000000) + 1),
			map({ ('-f', $_) } @scripts), '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', \$run->{out}, '2>', \$run->{err}, IPC::Run::timeout($seconds + 120));
	return $run;
}

my @runs = (bench('writers', 8, @writers), bench('readers', 4, @readers));
my $end = time + $seconds;
my ($vacuums, @vacuum_errors) = (0);
while (time < $end)
{
	foreach my $table ('items_heap', 'items_fp16')
	{
		my ($rc, $out, $err) = run_sql($node, "VACUUM $table");
		push @vacuum_errors, $err if $rc != 0;
		$vacuums++;
	}
	# Now and then everything is folded together, beside the others.
	if ($vacuums % 20 == 0)
	{
		my ($rc, $out, $err) = run_sql($node, 'REINDEX INDEX CONCURRENTLY items_heap_v');
		push @vacuum_errors, $err if $rc != 0;
	}
}
foreach my $run (@runs)
{
	ok(finish_background($run), "$run->{name}: no error") or diag($run->{err});
	my ($transactions) = $run->{out} =~ /number of transactions actually processed: (\d+)/;
	note("$run->{name}: " . ($transactions // 0) . ' transactions');
	cmp_ok($transactions // 0, '>', 10, "$run->{name}: they did something");
}
is(join("\n", @vacuum_errors), '', "VACUUM and REINDEX: no error ($vacuums times)");

foreach my $table ('items_heap', 'items_fp16')
{
	foreach my $moment ('afterwards', 'after VACUUM', 'after REINDEX')
	{
		$node->safe_psql('postgres', "VACUUM $table") if $moment eq 'after VACUUM';
		$node->safe_psql('postgres', "REINDEX INDEX ${table}_v") if $moment eq 'after REINDEX';
		is(compare($node, $table, $dim), 0, "$table $moment: full recall");
		is(complete($node, $table, $dim), 't', "$table $moment: every row once");
		is($node->safe_psql('postgres',
				"SELECT table_rows = (SELECT count(*) FROM $table) FROM hnsw_mmap_check('${table}_v', true)"),
			't', "$table $moment: check is clean");
	}
}

# One row changed a thousand times, not its vector: the index grows by little.
# (The log grows by 128 kB at a time.)
my $size = $node->safe_psql('postgres', "SELECT pg_relation_size('items_heap_v')");
$node->safe_psql('postgres', "DO \$\$ BEGIN FOR i IN 1..1000 LOOP UPDATE items_heap SET n = i WHERE id = 1; END LOOP; END \$\$");
$node->safe_psql('postgres', "VACUUM items_heap");
my $grown = $node->safe_psql('postgres', "SELECT pg_relation_size('items_heap_v')") - $size;
cmp_ok($grown, '<=', 2 * 131072, "a row changed a thousand times costs the index little ($grown bytes)");
ok(!server_crashed($node), 'the server never crashed');
$node->stop;

done_testing();
