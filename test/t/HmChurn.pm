
=pod

=head1 NAME

HmChurn - tables under constant change, and readers who know what they must see

=head1 DESCRIPTION

Two tables with two indexes each: both C<vectors> options, Euclidean and cosine
distances.  Rows share vectors, have none, or have such as cannot be ranked or
copied in half precision.  Writers insert, update the vector or something else,
delete and roll back; the number of rows stays about the same.  Merges are due
all the time.

Readers compare all that an index returns with a sequential scan in the same
snapshot, and raise an error if a row is missing or too many.  What is no error
but must be rare they write to the server's log, where C<churn_findings> counts
it: see the comments of C<hm_churn.read>.

=cut

package HmChurn;

use strict;
use warnings;

use Exporter 'import';
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(churn_settings churn_prepare churn_indexes churn_tables churn_writers churn_readers churn_vacuum
  churn_maintenance churn_verify churn_recall churn_findings churn_reads bench stop_bench log_place complaints);

my $dim = 16;

# About so many rows a table has.
my $rows = 2500;

# Name, table and operator of each index.
my @indexes = (
	[ 'heap_l2', 'a', '<->', "USING hnsw_mmap (v) WITH (vectors = 'heap', m = 8, ef_construction = 64)" ],
	[ 'copies_cosine', 'a', '<=>', "USING hnsw_mmap (v real_cosine_ops) WITH (vectors = 'fp16', m = 8, ef_construction = 64)" ],
	[ 'copies_l2', 'b', '<->', "USING hnsw_mmap (v) WITH (vectors = 'fp16')" ],
	[ 'heap_cosine', 'b', '<=>', "USING hnsw_mmap (v real_cosine_ops) WITH (vectors = 'heap')" ]);

sub churn_tables { return map { "hm_churn.$_" } 'a', 'b'; }
sub churn_indexes { return map { "hm_churn.$_->[0]" } @indexes; }

# What a node's configuration needs: merges of a few hundred rows.
sub churn_settings
{
	return <<CONF;
max_connections = 60
max_worker_processes = 16
deadlock_timeout = 10s
hnsw_mmap.merge_log_entries = 200
CONF
}

# churn_prepare(NODE): schema hm_churn with tables, indexes and functions.
sub churn_prepare
{
	my ($node) = @_;

	$node->safe_psql('postgres', <<SQL);
CREATE SCHEMA hm_churn;
CREATE SEQUENCE hm_churn.ids;

-- One vector in four is one of forty.  Some rows have none, one that the cosine
-- distance cannot rank, or one beyond half precision.
CREATE FUNCTION hm_churn.vec(k bigint) RETURNS real[] LANGUAGE sql IMMUTABLE AS \$\$
    SELECT CASE WHEN k % 100 < 3 THEN NULL
                WHEN k % 100 = 3 THEN array_fill(0::real, '{$dim}')
                WHEN k % 200 = 4 THEN array_fill((k % 1000 * 1e6)::real, '{$dim}')
                WHEN k % 100 < 30 THEN hm_test.vec(k / 100 % 40, $dim)
                ELSE hm_test.vec(k, $dim)
           END
\$\$;

-- Everything that the index returns, in its order.  With a pause, half of it is
-- fetched before and half of it after.
CREATE FUNCTION hm_churn.indexed(query text, pause float8, OUT ids bigint[], OUT distances float8[])
LANGUAGE plpgsql AS \$\$
DECLARE
    c refcursor;
    one record;
BEGIN
    ids := '{}';
    distances := '{}';
    IF pause = 0 THEN
        EXECUTE format('SELECT array_agg(id), array_agg(d) FROM (%s) AS s', query) INTO ids, distances;
        RETURN;
    END IF;
    OPEN c NO SCROLL FOR EXECUTE query;
    LOOP
        FETCH c INTO one;
        EXIT WHEN NOT FOUND;
        ids := ids || one.id;
        distances := distances || one.d;
        IF cardinality(ids) = 300 THEN
            PERFORM pg_sleep(pause);
        END IF;
    END LOOP;
    CLOSE c;
END
\$\$;

-- To be called as a statement of its own under repeatable read.  An error, if
-- the index does not return the rows of a sequential scan.  LOG messages:
--   hm_churn unused   the snapshot is older than a REINDEX CONCURRENTLY and may
--                     not use what that built (pg_index.indcheckxmin)
--   hm_churn late     relaxed order with ef_search = 1000: so many rows came after
--                     a farther one
--   hm_churn missed   strict order: so many of the ten nearest were not found
-- No subtransaction: a standby that must cancel one ends the whole session.
CREATE FUNCTION hm_churn.read(relation regclass, operator text, k bigint, pause float8) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off SET max_parallel_workers_per_gather = 0
AS \$\$
DECLARE
    distance text := hm_test.distance('v', operator, hm_test.vec(k, $dim));
    query text := format('SELECT id, %s AS d FROM %s ORDER BY %s', distance, relation, distance);
    exact record;
    found record;
    top float8[];
    count int;
BEGIN
    PERFORM set_config('hnsw_mmap.heap_mmap', CASE WHEN k % 8 = 0 THEN 'off' ELSE 'on' END, true),
            set_config('hnsw_mmap.max_mapped_touched', CASE WHEN k % 7 = 0 THEN '1' ELSE '1000' END, true),
            set_config('hnsw_mmap.ef_search', ('{10,40,1000}'::text[])[1 + k % 3], true),
            set_config('hnsw_mmap.iterative_scan', 'relaxed_order', true);
    IF hm_test.indexes_used(query) = '{}' THEN
        RAISE LOG 'hm_churn unused %', relation;
        RETURN;
    END IF;
    EXECUTE format('SELECT array_agg(id ORDER BY d, id) AS ids, array_agg(d ORDER BY d, id) AS distances
                      FROM (SELECT id, %s AS d FROM (TABLE %s OFFSET 0) AS t) AS s', distance, relation) INTO exact;
    found := hm_churn.indexed(query, pause);
    IF ARRAY(SELECT unnest(exact.ids) ORDER BY 1) IS DISTINCT FROM ARRAY(SELECT unnest(found.ids) ORDER BY 1) THEN
        RAISE EXCEPTION 'hm_churn: index of % by %, query %, pause %: of % rows missing %, too many %',
            relation, operator, k, pause, cardinality(exact.ids),
            ARRAY(SELECT unnest(exact.ids) EXCEPT ALL SELECT unnest(found.ids)),
            ARRAY(SELECT unnest(found.ids) EXCEPT ALL SELECT unnest(exact.ids));
    END IF;
    IF k % 3 = 2 AND exact.distances IS DISTINCT FROM found.distances THEN
        SELECT count(*) INTO count
          FROM (SELECT d, max(d) OVER before AS farthest, bool_or(d IS NULL) OVER before AS after_null
                  FROM unnest(found.distances) WITH ORDINALITY AS u (d, i)
                WINDOW before AS (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS s
         WHERE d < farthest OR d IS NOT NULL AND after_null;
        RAISE LOG 'hm_churn late % of %', count, cardinality(exact.ids);
    END IF;

    PERFORM set_config('hnsw_mmap.iterative_scan', 'strict_order', true),
            set_config('hnsw_mmap.ef_search', '400', true);
    SELECT distances INTO top FROM hm_churn.indexed(query || ' LIMIT 10', 0);
    IF cardinality(top) <> least(10, cardinality(exact.ids)) OR top <> ARRAY(SELECT unnest(top) ORDER BY 1) THEN
        RAISE EXCEPTION 'hm_churn: index of % by %, query %: ten rows in order expected, not %', relation, operator, k, top;
    END IF;
    IF top <> exact.distances[1:10] THEN
        SELECT count(*) INTO count FROM (SELECT unnest(exact.distances[1:10]) EXCEPT ALL SELECT unnest(top)) AS s;
        RAISE LOG 'hm_churn missed %', count;
    END IF;
END
\$\$;

-- The share of the ten nearest rows, by distance, that is found at ef_search 40.
CREATE FUNCTION hm_churn.recall(relation regclass, operator text, queries int) RETURNS float8
LANGUAGE sql SET hnsw_mmap.ef_search = 40 AS \$\$
    SELECT avg((SELECT count(*) FROM unnest(hm_test.indexed(relation, d, 10)) AS x WHERE x <= (exact)[10]) / 10.0)
      FROM (SELECT d, hm_test.exact(relation, d, 10) AS exact
              FROM generate_series(1, queries) AS q, hm_test.distance('v', operator, hm_test.vec(-q, $dim)) AS d
             OFFSET 0) AS s
\$\$;
SQL
	foreach my $table (churn_tables())
	{
		$node->safe_psql('postgres', <<SQL);
CREATE TABLE $table (id bigint PRIMARY KEY, n int DEFAULT 0, v real[]) WITH (fillfactor = 90);
INSERT INTO $table (id, v) SELECT nextval('hm_churn.ids'), hm_churn.vec(i) FROM generate_series(1, $rows) AS i;
SQL
	}
	foreach my $index (@indexes)
	{
		$node->safe_psql('postgres', "CREATE INDEX $index->[0] ON hm_churn.$index->[1] $index->[3]");
	}
	$node->safe_psql('postgres', "ANALYZE $_") foreach churn_tables();
}

# ---- Clients: pgbench, which ends a client at its first error ----

my $scripts = 0;

# bench(NODE, NAME, SECONDS, CLIENTS, OPTIONS, SCRIPT...): starts it and does not wait.
sub bench
{
	my ($node, $name, $seconds, $clients, $options, @texts) = @_;
	my $run = { out => '', err => '', name => $name };
	my @files = map {
		my $file = $node->basedir . '/bench' . $scripts++ . '.sql';
		append_to_file($file, $_);
		('-f', $file);
	} @texts;

	local $ENV{PGOPTIONS} = $options->{settings} // '';
	$run->{handle} = IPC::Run::start(
		[ 'pgbench', '-n', '-T', $seconds, '-c', $clients, '-j', 1, '--random-seed=' . (choose(1000000) + 1),
			@{ $options->{arguments} // [] }, @files, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \undef, '>', \$run->{out}, '2>', \$run->{err}, IPC::Run::timeout($seconds + 180));
	return $run;
}

# Waits for a bench whose server was killed, or that is not wanted any longer.
sub stop_bench
{
	my ($run) = @_;

	$run->{handle}->signal('TERM') if $run->{handle}->pumpable;
	eval { $run->{handle}->finish };
}

# churn_writers(NODE, SECONDS, [CLIENTS, TRANSACTIONS_PER_SECOND])
sub churn_writers
{
	my ($node, $seconds, $clients, $rate) = @_;
	my @texts;

	foreach my $table (churn_tables())
	{
		my $some = "SELECT id FROM $table TABLESAMPLE SYSTEM (4)";

		push @texts, <<INSERT, <<VECTOR, <<OTHER, <<DELETE, <<ROLLBACK, <<SLOW;
\\set n random(1, 20)
\\set k random(1, 1000000)
INSERT INTO $table (id, v) SELECT nextval('hm_churn.ids'), hm_churn.vec(:k + i) FROM generate_series(1, :n) AS i;
INSERT
\\set k random(1, 1000000)
UPDATE $table SET v = hm_churn.vec(:k + id) WHERE id IN ($some LIMIT 5 FOR UPDATE SKIP LOCKED);
VECTOR
UPDATE $table SET n = n + 1 WHERE id IN ($some LIMIT 10 FOR UPDATE SKIP LOCKED);
OTHER
DELETE FROM $table WHERE id IN ($some LIMIT (SELECT greatest(0, (count(*) - $rows) / 10) FROM $table) FOR UPDATE SKIP LOCKED);
DELETE
\\set k random(1, 1000000)
BEGIN;
INSERT INTO $table (id, v) SELECT nextval('hm_churn.ids'), hm_churn.vec(:k + i) FROM generate_series(1, 5) AS i;
SAVEPOINT s;
DELETE FROM $table WHERE id IN ($some LIMIT 5 FOR UPDATE SKIP LOCKED);
ROLLBACK TO s;
UPDATE $table SET v = hm_churn.vec(:k - id) WHERE id IN ($some LIMIT 5 FOR UPDATE SKIP LOCKED);
ROLLBACK;
ROLLBACK
\\set k random(1, 1000000)
\\set pause random(1, 1500)
BEGIN;
INSERT INTO $table (id, v) SELECT nextval('hm_churn.ids'), hm_churn.vec(:k + i) FROM generate_series(1, 5) AS i;
DELETE FROM $table WHERE id IN ($some LIMIT 2 FOR UPDATE SKIP LOCKED);
\\sleep :pause ms
UPDATE $table SET v = hm_churn.vec(:k - id) WHERE id IN ($some LIMIT 2 FOR UPDATE SKIP LOCKED);
COMMIT;
SLOW
	}
	return bench($node, 'writers', $seconds, $clients // 16, { arguments => [ '--rate=' . ($rate // 200) ] }, @texts);
}

# churn_readers(NODE, SECONDS, [CLIENTS]): one read in five takes up to three
# seconds.  What recovery cancels on a standby is tried again.
sub churn_readers
{
	my ($node, $seconds, $clients) = @_;
	my @texts;

	foreach my $index (@indexes)
	{
		push @texts, <<SQL;
\\set k random(1, 1000000)
\\set slow random(1, 5)
\\set pause random(1, 3000)
SELECT hm_churn.read('hm_churn.$index->[1]', '$index->[2]', :k, CASE WHEN :slow = 1 THEN :pause / 1000.0 ELSE 0 END);
SQL
	}
	return bench($node, 'readers', $seconds, $clients // 4,
		{ settings => '-c default_transaction_isolation=repeatable\ read', arguments => ['--max-tries=0'] }, @texts);
}

# VACUUM without end.
sub churn_vacuum
{
	my ($node, $seconds) = @_;

	return bench($node, 'VACUUM', $seconds, 1, {}, map { "VACUUM $_;\n\\sleep 50 ms\n" } churn_tables());
}

# A random statement of those that an administrator might run meanwhile.  The
# cosine indexes are never built anew, and the last one is not merged into one
# part but by itself: so some grow old.
sub churn_maintenance
{
	my $choice = choose(scalar @indexes);
	my $index = (churn_indexes())[$choice];
	my @statements = (
		("SELECT * FROM hnsw_mmap_merge('$index')") x 6,
		("SELECT * FROM hnsw_mmap_check('$index', full => true)") x 4,
		"SELECT * FROM hnsw_mmap_check('$index')",
		"SELECT * FROM hnsw_mmap_stats('$index')",
		'CHECKPOINT');

	push @statements, ("SELECT * FROM hnsw_mmap_merge('$index', full => true)") x 2 if $choice != $#indexes;
	push @statements, "REINDEX INDEX CONCURRENTLY $index" if $indexes[$choice][2] eq '<->';
	return $statements[ choose(scalar @statements) ];
}

# ---- Judgement ----

# churn_verify(NODE): '' if a full check finds every index sound, and each
# returns the rows of a sequential scan; otherwise what is wrong.
sub churn_verify
{
	my ($node) = @_;
	my @wrong;

	foreach my $index (@indexes)
	{
		my ($name, $table, $operator) = @$index;
		my ($rc, $out, $err) = run_sql($node, <<SQL);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT table_rows = (SELECT count(*) FROM hm_churn.$table) FROM hnsw_mmap_check('hm_churn.$name', full => true);
SELECT hm_churn.read('hm_churn.$table', '$operator', k, 0) FROM generate_series(1, 3) AS k;
COMMIT;
SQL
		push @wrong, "$name: $err" if $rc != 0;
		push @wrong, "$name: a check counts other rows than the table has" if $rc == 0 && $out !~ /^t/;
	}
	return join("\n", @wrong);
}

# churn_recall(NODE, [QUERIES]): the recall of each index, by name.
sub churn_recall
{
	my ($node, $queries) = @_;

	$queries //= 200;
	return map {
		("hm_churn.$_->[0]" => $node->safe_psql('postgres', "SELECT hm_churn.recall('hm_churn.$_->[1]', '$_->[2]', $queries)"))
	} @indexes;
}

# The end of a node's log, for the next two.
sub log_place { return -s $_[0]->logfile; }

# complaints(NODE, FROM): what the log has since then that nobody expects.
sub complaints
{
	my ($node, $from) = @_;
	my @lines = grep { /(WARNING|ERROR|FATAL|PANIC): |TRAP:|was terminated by signal/ }
	  split /\n/, substr(slurp_file($node->logfile), $from);

	# A server that starts or was killed; a standby that must go on; the end of a test.
	@lines = grep { !/the database system is|(57P0[123]|08006): |40001: (canceling statement|terminating connection) due to conflict with recovery/ } @lines;
	splice(@lines, 10) if @lines > 10;
	return join("\n", @lines);
}

# churn_findings(NODE, FROM): how often a message of hm_churn.read is in the log
# since then, and the sum of its numbers.
sub churn_findings
{
	my ($node, $from) = @_;
	my %findings = map { $_ => 0, "${_}_rows" => 0 } 'unused', 'late', 'missed';

	foreach my $line (split /\n/, substr(slurp_file($node->logfile), $from))
	{
		next unless $line =~ /LOG: .*hm_churn (unused|late|missed) (\d*)/;
		$findings{$1}++;
		$findings{"${1}_rows"} += $2 || 0;
	}
	return \%findings;
}

# How many transactions a bench made.
sub churn_reads
{
	my ($run) = @_;
	my ($count) = $run->{out} =~ /number of transactions actually processed: (\d+)/;

	return $count // 0;
}

1;
