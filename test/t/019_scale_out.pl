# A partitioned table, each partition with its own index; and the same over
# three servers through postgres_fdw: plans, what the other servers are asked,
# and answers beside exact ones (scenario 17).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 16;
my $hub = new_node('hub');

my $present = $hub->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'");
my $query = $hub->safe_psql('postgres', "SELECT hm_test.vec(77, $dim)");

# scale_mismatches(TABLE, OPERATOR, FILTER): for how many of 20 queries the plan
# that the planner chooses gives other distances than sorting all rows does.
# One is forgiven, as in hm_test.mismatches.
$hub->safe_psql('postgres', <<SQL);
CREATE FUNCTION scale_mismatches(relation regclass, operator text, filter text DEFAULT 'true') RETURNS bigint
LANGUAGE plpgsql SET hnsw_mmap.ef_search = 400 AS \$\$
DECLARE
    distance text;
    through_plan float8[];
    exact float8[];
    wrong bigint := 0;
BEGIN
    FOR q IN 1 .. 20 LOOP
        distance := hm_test.distance('v', operator, hm_test.vec(1000000 + q, $dim));
        EXECUTE format('SELECT array_agg(d) FROM (SELECT %1\$s AS d FROM %2\$s WHERE %3\$s ORDER BY %1\$s LIMIT 10) AS s',
            distance, relation, filter) INTO through_plan;
        EXECUTE format('SELECT array_agg(d) FROM (SELECT %1\$s AS d FROM %2\$s WHERE %3\$s ORDER BY (%1\$s) + 0 LIMIT 10) AS s',
            distance, relation, filter) INTO exact;
        wrong := wrong + (through_plan IS DISTINCT FROM exact OR cardinality(exact) <> 10)::int;
    END LOOP;
    RETURN greatest(wrong - 1, 0);
END
\$\$;
SQL

sub plan_of
{
	my ($node, $options, $sql) = @_;

	return $node->safe_psql('postgres', "EXPLAIN (COSTS OFF$options) $sql");
}

sub occurrences
{
	my ($pattern, $text) = @_;

	return scalar(() = $text =~ /$pattern/g);
}

# remote_plan(SHARD, STATEMENT): how it plans what it is asked.  postgres_fdw reads
# from a cursor, and has no schema but pg_catalog in its search path.
sub remote_plan
{
	my ($shard, $statement) = @_;

	return $shard->safe_psql('postgres', <<SQL);
SET search_path = pg_catalog;
SET cursor_tuple_fraction = 0.001;
EXPLAIN (COSTS OFF) DECLARE c CURSOR FOR $statement;
SQL
}

# ---- one server ----

$hub->safe_psql('postgres', <<SQL);
CREATE TABLE hashed (id int PRIMARY KEY, v real[]) PARTITION BY HASH (id);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE hashed_2 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO hashed SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 6000) AS i;
CREATE INDEX hashed_v ON hashed USING hnsw_mmap (v);
CREATE TABLE tenants (tenant int, id int, v real[]) PARTITION BY LIST (tenant);
CREATE TABLE tenants_1 PARTITION OF tenants FOR VALUES IN (1);
CREATE TABLE tenants_2 PARTITION OF tenants FOR VALUES IN (2);
CREATE TABLE tenants_rest PARTITION OF tenants DEFAULT;
CREATE INDEX tenants_v ON tenants USING hnsw_mmap (v);
INSERT INTO tenants SELECT i % 4 + 1, i, hm_test.vec(i, $dim) FROM generate_series(1, 8000) AS i;
ANALYZE hashed, tenants;
SQL

my $plan = plan_of($hub, '', "SELECT id FROM hashed ORDER BY v <-> '$query'::real[] LIMIT 10");
like($plan, qr/Merge Append/, 'hash: the nearest of all partitions are merged');
is(occurrences('Index Scan using hashed_\d_v_idx', $plan), 3, 'hash: from an index scan of each') or diag($plan);
is($hub->safe_psql('postgres', "SELECT scale_mismatches('hashed', '<->')"), '0', 'hash: exact distances');

$plan = plan_of($hub, '', "SELECT id FROM tenants WHERE tenant = 2 ORDER BY v <-> '$query'::real[] LIMIT 10");
like($plan, qr/Index Scan using tenants_2_v_idx/, 'tenant: its own index');
unlike($plan, qr/tenants_1|tenants_rest|Sort/, 'tenant: and nothing else') or diag($plan);
is($hub->safe_psql('postgres', "SELECT scale_mismatches('tenants', '<->', 'tenant = 2')"), '0', 'tenant: exact distances');
is($hub->safe_psql('postgres', "SELECT scale_mismatches('tenants', '<->')"), '0', 'all tenants: exact distances');

# ---- three servers ----

SKIP:
{
	skip 'postgres_fdw is not here', 1 unless $present;

	my @shards = map { new_node("shard$_") } 1 .. 3;

	foreach my $shard (@shards)
	{
		$shard->safe_psql('postgres', 'CREATE TABLE docs (id int PRIMARY KEY, tenant int, v real[], h float2[])');
	}

	# What a session there is to be set to travels in the connection's options.
	my $servers = "CREATE EXTENSION postgres_fdw;\n";
	foreach my $i (1 .. 3)
	{
		my ($host, $port) = ($shards[ $i - 1 ]->host, $shards[ $i - 1 ]->port);
		my $remainder = $i - 1;

		$servers .= <<SQL;
CREATE SERVER shard$i FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres', extensions 'hnsw_mmap',
    options '-c hnsw_mmap.ef_search=400 -c cursor_tuple_fraction=0.001', fetch_size '10', batch_size '500', async_capable 'true');
CREATE USER MAPPING FOR CURRENT_USER SERVER shard$i;
CREATE FOREIGN TABLE docs_$i PARTITION OF docs FOR VALUES WITH (MODULUS 3, REMAINDER $remainder) SERVER shard$i OPTIONS (table_name 'docs');
SQL
	}
	$hub->safe_psql('postgres', "CREATE TABLE docs (id int, tenant int, v real[], h float2[]) PARTITION BY HASH (id);\n$servers");

	# Rows find their server by themselves.
	$hub->safe_psql('postgres', <<SQL);
INSERT INTO docs SELECT i, i % 4, hm_test.vec(i, $dim), hm_test.vec(i, $dim)::float2[] FROM generate_series(1, 6000) AS i;
SQL
	foreach my $shard (@shards)
	{
		$shard->safe_psql('postgres', <<SQL);
CREATE INDEX docs_v ON docs USING hnsw_mmap (v);
CREATE INDEX docs_v_ip ON docs USING hnsw_mmap (v real_ip_ops);
CREATE INDEX docs_v_cosine ON docs USING hnsw_mmap (v real_cosine_ops);
CREATE INDEX docs_h ON docs USING hnsw_mmap (h);
ANALYZE docs;
SQL
	}
	$hub->safe_psql('postgres', 'ANALYZE docs');

	# In older versions an array type does not belong to its element's extension, and so is not passed on.
	my $arrays = $hub->safe_psql('postgres', <<SQL);
SELECT count(*) FROM pg_depend WHERE classid = 'pg_type'::regclass AND objid = 'float2[]'::regtype AND refclassid = 'pg_extension'::regclass
SQL
	my @cases = ([ '<->', 'v', 'docs_v', 'real' ], [ '<#>', 'v', 'docs_v_ip', 'real' ], [ '<=>', 'v', 'docs_v_cosine', 'real' ]);
	push @cases, [ '<->', 'h', 'docs_h', 'float2' ] if $arrays;

	foreach my $case (@cases)
	{
		my ($operator, $column, $index, $type) = @$case;
		my $name = "$column $operator";

		$plan = plan_of($hub, ', VERBOSE', "SELECT id FROM docs ORDER BY $column $operator '$query'::$type\[] LIMIT 10");
		my @statements = $plan =~ /Remote SQL: (.*)/g;

		like($plan, qr/^\s*->  Merge Append$/m, "$name: what three servers return is merged");
		unlike($plan, qr/ Sort$/m, "$name: and not sorted here") or diag($plan);
		is(scalar(grep { /ORDER BY \($column OPERATOR\(public\.\Q$operator\E\) .*\) ASC NULLS LAST$/ } @statements), 3,
			"$name: each is asked for its rows in order") or diag($plan);
		like(remote_plan($shards[$_], $statements[$_]), qr/^Index Scan using $index on /, "$name: and takes them from its index, server $_")
		  foreach 0 .. 2;
		is($hub->safe_psql('postgres', "SELECT scale_mismatches('docs', '$operator')"), '0', "$name: exact distances") if $column eq 'v';
	}

	# A vector that is known at execution only.
	$plan = $hub->safe_psql('postgres', <<SQL);
SET plan_cache_mode = force_generic_plan;
PREPARE nearest (real[]) AS SELECT id FROM docs ORDER BY v <-> \$1 LIMIT 10;
EXPLAIN (COSTS OFF, VERBOSE) EXECUTE nearest('$query');
SQL
	is(occurrences('ORDER BY \(v OPERATOR\(public\.<->\) \$1::real\[\]\)', $plan), 3, 'a parameter is passed on') or diag($plan);

	# A filter goes with it; the key of the partitions leaves one server to ask.
	$plan = plan_of($hub, ', VERBOSE', "SELECT id FROM docs WHERE tenant = 1 ORDER BY v <-> '$query'::real[] LIMIT 10");
	is(occurrences('WHERE \(\(tenant = 1\)\) ORDER BY \(v OPERATOR', $plan), 3, 'a filter is passed on') or diag($plan);
	is($hub->safe_psql('postgres', "SELECT scale_mismatches('docs', '<->', 'tenant = 1')"), '0', 'with a filter: exact distances');

	# One server at a time: with estimates from there, LIMIT is passed on, and all are asked at once.
	$hub->safe_psql('postgres', "ALTER SERVER shard$_ OPTIONS (ADD use_remote_estimate 'true')") foreach 1 .. 3;
	my $union = join ' UNION ALL ',
	  map { "(SELECT id, v <-> '$query'::real[] AS d FROM docs_$_ ORDER BY v <-> '$query'::real[] LIMIT 10)" } 1 .. 3;
	$union = "SELECT id FROM ($union OFFSET 0) AS s ORDER BY d LIMIT 10";
	$plan = plan_of($hub, ', VERBOSE', $union);
	is(occurrences('ORDER BY \(v OPERATOR.* ASC NULLS LAST LIMIT 10::bigint', $plan), 3, 'nearest of each server: LIMIT is passed on')
	  or diag($plan);
	is(occurrences('Async Foreign Scan', $plan), 3, 'nearest of each server: all work at once') or diag($plan);
	$hub->safe_psql('postgres', "ALTER SERVER shard$_ OPTIONS (DROP use_remote_estimate)") foreach 1 .. 3;
	is($hub->safe_psql('postgres', $union),
		$hub->safe_psql('postgres', "SELECT id FROM docs ORDER BY (v <-> '$query'::real[]) + 0 LIMIT 10"),
		'nearest of each server: the right rows');

	# Writing through the hub, into the logs of the indexes there.
	$hub->safe_psql('postgres', <<SQL);
INSERT INTO docs SELECT i, 0, hm_test.vec(i, $dim), NULL FROM generate_series(6001, 6300) AS i;
UPDATE docs SET v = hm_test.vec(id + 100000, $dim) WHERE id % 20 = 0;
DELETE FROM docs WHERE id % 10 = 1;
SQL
	is($hub->safe_psql('postgres', "SELECT scale_mismatches('docs', '<->')"), '0', 'after writing through the hub: exact distances');
	is($_->safe_psql('postgres', "SELECT count(*) FROM hnsw_mmap_check('docs_v', true)"), '1', 'its index is sound, ' . $_->name) foreach @shards;

	# One server is away: an error that says so, and no answer without its rows.
	$shards[2]->stop('fast');
	my ($rc, $out, $err) = run_sql($hub, "SELECT id FROM docs ORDER BY v <-> '$query'::real[] LIMIT 10");
	isnt($rc, 0, 'without one server there is no answer');
	like($err, qr/08001.*could not connect to server "shard3"/, 'and an error that names it');
	$_->stop foreach @shards[ 0, 1 ];
}

$hub->stop;
done_testing();
