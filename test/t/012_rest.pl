# What else PostgreSQL does to a table whose index is in use: databases copied from
# it, transactions that are prepared, cut into savepoints or rolled back, crashes
# of unlogged tables, temporary tables, partitions that come and go, indexes built
# concurrently beside writers and merges (scenarios 11, 12, 16).

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

my $dim = 12;
my $start = time;
my $node = new_node('rest', <<CONF);
hnsw_mmap.background_merge = off
max_prepared_transactions = 10
allow_in_place_tablespaces = on
CONF

sub lap
{
	note(sprintf('%s: %.1f s', $_[0], time - $start));
	$start = time;
}

# make(TABLE, MODE, [DATABASE, KIND]): a table with an index that is worn.
sub make
{
	my ($table, $mode, $database, $kind) = @_;

	$kind //= '';
	$node->safe_psql($database // 'postgres', <<SQL);
CREATE $kind TABLE $table (id int PRIMARY KEY, n int DEFAULT 0, v real[]);
INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 600) AS i;
CREATE INDEX ${table}_v ON $table USING hnsw_mmap (v) WITH (vectors = '$mode', m = 8, ef_construction = 64);
SQL
	wear($node, $table, $dim, $database);
}

sub is_sound { my ($what, $table, $database) = @_; is(sound($node, $table, $dim, $database), 'sound', "$what: $table"); }

# The last line that some statements print, or their error.
sub result
{
	my ($sql, $database) = @_;
	my ($rc, $out, $err) = run_sql($node, $sql, $database);

	return $rc == 0 ? (split /\n/, $out)[-1] // '' : "error: $err";
}

prepare_worn($node);
make("items_$_", $_) foreach 'heap', 'fp16';
my @tables = ('items_heap', 'items_fp16');
lap('tables');

# ---- Databases copied from a template ----

$node->safe_psql('postgres', 'CREATE DATABASE source TEMPLATE template0');
prepare_database($node, 'source');
prepare_worn($node, 'source');
make("items_$_", $_, 'source') foreach 'heap', 'fp16';
foreach my $strategy ('wal_log', 'file_copy')
{
	$node->safe_psql('postgres', "CREATE DATABASE $strategy TEMPLATE source STRATEGY $strategy");
	foreach my $table (@tables)
	{
		is_worn($node, $table, $strategy);
		is_sound($strategy, $table, $strategy);
		goes_on($strategy, $node, $table, $dim, $strategy);
		is_sound("$strategy, its source", $table, 'source');
	}
}
kill_server($node);
$node->start;
foreach my $table (@tables)
{
	is_sound('a copy, after a crash', $table, 'wal_log');
	is_sound('another copy, after a crash', $table, 'file_copy');
}
# The source changes after it was copied; a copy of the copy.
goes_on('the source', $node, $_, $dim, 'source') foreach @tables;
is_sound('a copy of what has changed', $_, 'wal_log') foreach @tables;
$node->safe_psql('postgres', 'CREATE DATABASE copied_twice TEMPLATE wal_log');
is_sound('copied twice', $_, 'copied_twice') foreach @tables;
$node->safe_psql('postgres', "DROP DATABASE $_") foreach 'wal_log', 'file_copy', 'copied_twice', 'source';
lap('databases');

# ---- Prepared transactions ----

foreach my $table (@tables)
{
	my $rows = result("SELECT count(*) FROM $table");
	$node->safe_psql('postgres', <<SQL);
BEGIN;
INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(5001, 5100) AS i;
DELETE FROM $table WHERE id BETWEEN 1 AND 50;
UPDATE $table SET v = hm_test.vec(-id, $dim) WHERE id BETWEEN 51 AND 100;
PREPARE TRANSACTION '$table one';
BEGIN;
INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(5201, 5300) AS i;
SELECT hnsw_mmap_merge('${table}_v');
UPDATE $table SET v = hm_test.vec(-id, $dim) WHERE id BETWEEN 101 AND 150;
PREPARE TRANSACTION '$table two';
SQL
	is_sound('transactions prepared', $table);
	is(result("SELECT count(*) FROM $table"), $rows, "$table: their rows are not there yet");
	# What is not yet committed is merged, too; VACUUM leaves it alone.
	is(result("VACUUM (INDEX_CLEANUP ON) $table; SELECT log_entries FROM hnsw_mmap_check('${table}_v')") > 0, 1, "$table: a log");
	$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('${table}_v', true)");
	is_sound('transactions prepared, and merged', $table);
}
kill_server($node);
$node->start;
foreach my $table (@tables)
{
	my $rows = result("SELECT count(*) + 100 - count(*) FILTER (WHERE id <= 50) FROM $table");
	is_sound('transactions prepared, after a crash', $table);
	$node->safe_psql('postgres', "COMMIT PREPARED '$table one'");
	is_sound('COMMIT PREPARED', $table);
	is(result("SELECT count(*) FROM $table"), $rows, "$table: now the rows are there");
	$node->safe_psql('postgres', "ROLLBACK PREPARED '$table two'; VACUUM (INDEX_CLEANUP ON) $table");
	is_sound('ROLLBACK PREPARED', $table);
	is(result("SELECT count(*) FROM $table"), $rows, "$table: and those are not");
	goes_on('after prepared transactions', $node, $table, $dim);

	# A new index, an index dropped, a table emptied; each outlives a restart.
	$node->safe_psql('postgres', "BEGIN; CREATE INDEX ${table}_new ON $table USING hnsw_mmap (v) WITH (vectors = fp16); PREPARE TRANSACTION '$table'");
}
kill_server($node);
$node->start;
# Both, before anything is vacuumed: a prepared transaction keeps what it may see.
$node->safe_psql('postgres', "COMMIT PREPARED '$_'") foreach @tables;
foreach my $table (@tables)
{
	$node->safe_psql('postgres', "DROP INDEX ${table}_v; ALTER INDEX ${table}_new RENAME TO ${table}_v");
	is_sound('CREATE INDEX prepared', $table);
	$node->safe_psql('postgres', live($table, $dim, 100) . "VACUUM (INDEX_CLEANUP ON) $table");
	$node->safe_psql('postgres', "BEGIN; TRUNCATE $table; " . live($table, $dim, 30) . "SELECT hnsw_mmap_merge('${table}_v'); PREPARE TRANSACTION '$table'");
	$node->safe_psql('postgres', "ROLLBACK PREPARED '$table'");
	is_sound('TRUNCATE, prepared and rolled back', $table);
	$node->safe_psql('postgres', "BEGIN; REINDEX INDEX ${table}_v; " . live($table, $dim, 30) . "SELECT hnsw_mmap_merge('${table}_v'); PREPARE TRANSACTION '$table'");
	$node->safe_psql('postgres', "COMMIT PREPARED '$table'");
	is_sound('REINDEX, prepared and committed', $table);
	goes_on('after prepared commands', $node, $table, $dim);
	wear($node, $table, $dim);
}
lap('prepared transactions');

# ---- Savepoints ----

foreach my $table (@tables)
{
	my $merge = "SELECT log_entries FROM hnsw_mmap_merge('${table}_v')";
	my $verdict = verdict_of($table, $dim);
	my @live = map { live($table, $dim, $_) } 10, 20, 30;

	# What a merge has written stays, whatever becomes of who merged.
	is(result("BEGIN; $live[2] SAVEPOINT a; $live[1] $merge; $verdict"), 'sound', "$table: merged in a subtransaction, seen in it");
	is(result("BEGIN; $live[2] SAVEPOINT a; $live[1] $merge; $live[0] ROLLBACK TO a; $verdict"), 'sound', "$table: that is rolled back");
	is_sound('all of it is rolled back', $table);
	is(result("BEGIN; SAVEPOINT a; $live[0] SAVEPOINT b; $live[1] RELEASE b; $merge; SAVEPOINT c; $live[2] ROLLBACK TO c; $merge; COMMIT; $verdict"),
		'sound', "$table: savepoints nested");
	is(result("VACUUM (INDEX_CLEANUP ON) $table; $merge; $verdict"), 'sound', "$table: vacuumed and merged");

	# The file is another one in a subtransaction, and the old one again after it.
	is(result("BEGIN; SAVEPOINT a; REINDEX INDEX ${table}_v; $live[1] $merge; $verdict"), 'sound', "$table: built anew in a subtransaction");
	is(result("BEGIN; $live[0] SAVEPOINT a; REINDEX INDEX ${table}_v; $live[1] $merge; $verdict ROLLBACK TO a; $verdict $live[1] $merge; COMMIT; $verdict"),
		'sound', "$table: and that rolled back");
	is(result("BEGIN; SAVEPOINT a; TRUNCATE $table; $live[1] $merge; $verdict ROLLBACK TO a; $verdict $live[1] $merge; COMMIT; $verdict"),
		'sound', "$table: emptied, and that rolled back");
	is(result("BEGIN; TRUNCATE $table; INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 200) AS i; $merge; $live[1] $merge; $verdict"),
		'sound', "$table: emptied and filled in one transaction");
	is(result("BEGIN; CREATE INDEX x ON $table USING hnsw_mmap (v real_ip_ops); $live[1] SELECT log_entries FROM hnsw_mmap_merge('x'); SELECT 'merged' FROM hnsw_mmap_check('x', true)"),
		'merged', "$table: an index of this transaction is merged");

	# An error in a subtransaction, in the middle of a merge or a scan.
	is(result(<<SQL), 'sound', "$table: a merge cut short by an error that is caught");
DO \$\$
BEGIN
    FOR i IN 1 .. 20 LOOP
        BEGIN
            PERFORM hm_worn.live('$table', $dim, 20);
            PERFORM set_config('statement_timeout', '1ms', true);
            PERFORM hnsw_mmap_merge('${table}_v', true);
            PERFORM 1 / (i % 2);
        EXCEPTION WHEN query_canceled OR division_by_zero THEN NULL;
        END;
    END LOOP;
END \$\$;
$verdict
SQL
	goes_on('after savepoints', $node, $table, $dim);
	wear($node, $table, $dim);
}
lap('savepoints');

# ---- Unlogged ----

make("unlogged_$_", $_, undef, 'UNLOGGED') foreach 'heap', 'fp16';
foreach my $table ('unlogged_heap', 'unlogged_fp16')
{
	is_sound('unlogged', $table);
	goes_on('unlogged', $node, $table, $dim);
}
$node->restart;
is_sound('unlogged, after a clean restart', "unlogged_$_") foreach 'heap', 'fp16';
kill_server($node);
$node->start;
foreach my $table ('unlogged_heap', 'unlogged_fp16')
{
	is(result("SELECT count(*) FROM $table"), 0, "$table: empty after a crash");
	is(complete($node, $table, $dim), 't', "$table: which the index knows");
	is(result("SELECT parts, log_entries, blocks_free + blocks_retired FROM hnsw_mmap_check('${table}_v', true)"), '0|0|0', "$table: of which nothing is left");
	$node->safe_psql('postgres', "INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 1000) AS i; SELECT hnsw_mmap_merge('${table}_v')");
	wear($node, $table, $dim);
	is_sound('unlogged, filled again', $table);
	$node->safe_psql('postgres', "ALTER TABLE $table SET LOGGED");
	is_sound('logged from now on', $table);
	wear($node, $table, $dim);
}
kill_server($node);
$node->start;
foreach my $table ('unlogged_heap', 'unlogged_fp16')
{
	is_worn($node, $table);
	is_sound('logged, after a crash', $table);
	goes_on('logged, after a crash', $node, $table, $dim);
	$node->safe_psql('postgres', "DROP TABLE $table");
}
lap('unlogged');

# ---- Temporary tables ----

foreach my $mode ('heap', 'fp16')
{
	my $table = "temp_$mode";
	my $create = "CREATE TEMPORARY TABLE $table (id int, n int DEFAULT 0, v real[])";
	my $index = "CREATE INDEX ${table}_v ON $table USING hnsw_mmap (v) WITH (vectors = '$mode', m = 8, ef_construction = 64)";
	my $fill = "INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 500) AS i";
	my $merge = "SELECT log_entries FROM hnsw_mmap_merge('${table}_v')";
	my $verdict = verdict_of($table, $dim);
	my $empty = "SELECT elements, log_entries, parts FROM hnsw_mmap_check('${table}_v', true)";
	my @live = map { live($table, $dim, $_) } 10, 20, 50;

	is(result("$create; $fill; $index; $live[2] VACUUM (INDEX_CLEANUP ON) $table; $merge; $live[1] VACUUM (INDEX_CLEANUP ON) $table; $merge; $live[0] VACUUM (INDEX_CLEANUP ON) $table; $verdict"), 'sound', "$table");
	is(result("SET hnsw_mmap.background_merge = on; SET hnsw_mmap.merge_log_entries = 20; $create; $index; $fill; " . join('', (@live) x 5)
			  . "VACUUM (INDEX_CLEANUP ON) $table; $verdict"), 'sound', "$table: merged by whoever inserts");
	foreach my $again (0 .. 1)
	{
		my $transaction = "BEGIN; $fill; $merge; $live[2] $merge; $live[0] $verdict COMMIT;";
		is(result("$create ON COMMIT DELETE ROWS; $index; " . $transaction x (1 + $again) . $empty), '0|0|0', "$table: empty after " . (1 + $again) . ' COMMIT');
	}
	is(result("$create ON COMMIT DELETE ROWS; $index; BEGIN; $fill; $merge; $live[2] $merge; COMMIT; BEGIN; $live[0] $merge; $fill; $merge; SAVEPOINT a; $live[2] $merge; ROLLBACK TO a; $verdict"),
		'sound', "$table: in use again in the next transaction");
	is(result("BEGIN; $create ON COMMIT DROP; $index; $fill; $merge; $live[2] $merge; $verdict COMMIT; SELECT to_regclass('$table') IS NULL"), 't', "$table: ON COMMIT DROP");
	is(result("$create; $fill; $index; BEGIN; $live[2] $merge; $live[1] ROLLBACK; $merge; VACUUM (INDEX_CLEANUP ON) $table; $merge; $verdict"), 'sound', "$table: rolled back");
	is(result("$create; $fill; $index; $live[2] $merge; BEGIN; TRUNCATE $table; $live[1] $merge; $verdict ROLLBACK; $verdict"), 'sound', "$table: TRUNCATE rolled back");
	is(result("$create; $fill; $index; $live[2] $merge; TRUNCATE $table; $fill; $merge; DISCARD TEMP; $create; $index; $fill; $merge; $live[1] $merge; $verdict"), 'sound', "$table: DISCARD TEMP");
}
lap('temporary tables');

# ---- Partitions ----

foreach my $mode ('heap', 'fp16')
{
	my $parent = "parted_$mode";
	my $index = "USING hnsw_mmap (v) WITH (vectors = '$mode', m = 8, ef_construction = 64)";
	my $both = sub {
		my ($what, @partitions) = @_;

		is(compare($node, $parent, $dim), 0, "$what: $parent");
		is(complete($node, $parent, $dim), 't', "$what: $parent, every row once");
		is_sound($what, $_) foreach @partitions;
	};

	# The sequence gives ids from 100,000 on: those are the default partition's.
	$node->safe_psql('postgres', <<SQL);
CREATE TABLE $parent (id int, n int DEFAULT 0, v real[]) PARTITION BY RANGE (id);
CREATE TABLE ${parent}_1 PARTITION OF $parent FOR VALUES FROM (1) TO (501);
CREATE TABLE ${parent}_2 PARTITION OF $parent DEFAULT;
INSERT INTO $parent (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 800) AS i;
CREATE INDEX ${parent}_v ON $parent $index;
ALTER INDEX ${parent}_1_v_idx RENAME TO ${parent}_1_v;
ALTER INDEX ${parent}_2_v_idx RENAME TO ${parent}_2_v;
SQL
	$node->safe_psql('postgres', live($parent, $dim, $_) . "VACUUM (INDEX_CLEANUP ON) $parent; SELECT hnsw_mmap_merge('${parent}_1_v'); SELECT hnsw_mmap_merge('${parent}_2_v')")
	  foreach 150, 40, 10;
	$node->safe_psql('postgres', live($parent, $dim, 20));
	is_worn($node, "${parent}_2");
	$both->('partitioned', "${parent}_1", "${parent}_2");
	my $rows = result("SELECT count(*) FROM $parent WHERE id BETWEEN 10 AND 30");
	is(result(<<SQL), $rows, "$parent: rows move to another partition and back");
UPDATE $parent SET id = id + 200000 WHERE id BETWEEN 10 AND 30;
SELECT hnsw_mmap_merge('${parent}_2_v');
UPDATE $parent SET id = id - 200000 WHERE id BETWEEN 200010 AND 200030;
SELECT hnsw_mmap_merge('${parent}_1_v');
SELECT count(*) FROM $parent WHERE id BETWEEN 10 AND 30;
SQL
	$both->('rows moved', "${parent}_1", "${parent}_2");

	# No partition can leave concurrently where there is a default one.
	$node->safe_psql('postgres', "ALTER TABLE $parent DETACH PARTITION ${parent}_2");
	$both->('detached', "${parent}_1", "${parent}_2");
	goes_on('detached', $node, "${parent}_2", $dim);
	$node->safe_psql('postgres', "ALTER TABLE $parent DETACH PARTITION ${parent}_1 CONCURRENTLY");
	is_sound('detached concurrently', "${parent}_1");
	$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('${parent}_1_v', true)");

	# Its own index becomes the partition's; one without gets a new one.
	my $before = result("SELECT pg_relation_filenode('${parent}_1_v')");
	$node->safe_psql('postgres', "ALTER TABLE $parent ATTACH PARTITION ${parent}_1 FOR VALUES FROM (1) TO (501)");
	is(result("SELECT pg_relation_filenode('${parent}_1_v')"), $before, "$parent: attached with the index it had");
	$node->safe_psql('postgres', "ALTER TABLE $parent ATTACH PARTITION ${parent}_2 DEFAULT");
	wear($node, "${parent}_2", $dim);
	$both->('attached', "${parent}_1", "${parent}_2");
	$node->safe_psql('postgres', <<SQL);
CREATE TABLE ${parent}_3 (LIKE $parent);
INSERT INTO ${parent}_3 SELECT i, 0, hm_test.vec(i, $dim) FROM generate_series(50001, 50300) AS i;
ALTER TABLE $parent ATTACH PARTITION ${parent}_3 FOR VALUES FROM (50001) TO (60000);
ALTER INDEX ${parent}_3_v_idx RENAME TO ${parent}_3_v;
INSERT INTO $parent SELECT i, 0, hm_test.vec(i, $dim) FROM generate_series(50301, 50400) AS i;
SELECT hnsw_mmap_merge('${parent}_3_v');
SQL
	$both->('attached without an index', "${parent}_1", "${parent}_2", "${parent}_3");

	# A session that has planned and mapped all of them, while one leaves.
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query('SET enable_seqscan = off; SET enable_sort = off; SET plan_cache_mode = force_generic_plan');
	$session->query("PREPARE nearest AS SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM $parent ORDER BY v <-> hm_test.vec(0, $dim) LIMIT 600) AS s");
	is(scalar $session->query('EXECUTE nearest'), '600|600', "$parent: a session that stays connected");
	$node->safe_psql('postgres', "ALTER TABLE $parent DETACH PARTITION ${parent}_3; DROP TABLE ${parent}_3");
	is(scalar $session->query('EXECUTE nearest'), '600|600', "$parent: after a partition has left");
	$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('${parent}_2_v', true); TRUNCATE ${parent}_1");
	is(scalar $session->query('EXECUTE nearest') =~ /^(\d+)\|\1$/, 1, "$parent: after another was emptied, and the last merged");
	$session->quit;
	$both->('at last', "${parent}_1", "${parent}_2");
	$node->safe_psql('postgres', "DROP TABLE $parent");
}
lap('partitions');

# ---- Built concurrently, moved and dumped, beside writers and merges ----

foreach my $table (@tables)
{
	my $mode = substr($table, 6);
	my $rounds = join('', map {
			(live($table, $dim, 15), $_ % 4 == 0 ? "VACUUM (INDEX_CLEANUP ON) $table;\n" : '', $_ % 3 == 0 ? "SELECT log_entries FROM hnsw_mmap_merge('${table}_v');\n" : '')
		} 1 .. 60);
	# The other writer merges nothing by hand: at four times as many entries as are
	# wanted, inserters do it themselves.
	my $others = "SET hnsw_mmap.background_merge = on; SET hnsw_mmap.merge_log_entries = 20;\n"
	  . join('', map { my $id = 10000 + $_ * 20; "INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series($id, $id + 19) AS i;\n" } 1 .. 60);
	my @writers = (background($node, $rounds), background($node, $others));
	my @failed;
	my $done = 0;
	my $file = $node->basedir . "/dump_$table";

	while (grep { $_->{handle}->pumpable } @writers)
	{
		$_->{handle}->pump_nb foreach grep { $_->{handle}->pumpable } @writers;
		foreach my $sql (
			"CREATE INDEX CONCURRENTLY ${table}_new ON $table USING hnsw_mmap (v) WITH (vectors = '$mode', m = 8, ef_construction = 64)",
			"SELECT hnsw_mmap_merge('${table}_new'); SELECT hnsw_mmap_merge('${table}_new', true); SELECT 1 / (rows > 0)::int FROM hnsw_mmap_check('${table}_new', true)",
			"REINDEX INDEX CONCURRENTLY ${table}_new", "DROP INDEX CONCURRENTLY ${table}_v", "ALTER INDEX ${table}_new RENAME TO ${table}_v")
		{
			my ($rc, $out, $err) = run_sql($node, $sql);
			push @failed, "$sql: $err" if $rc != 0;
		}
		last if @failed;
		$done++;
		next if $done != 1;
		$node->command_ok([ 'pg_dump', '--format', 'custom', '-f', $file, '-d', $node->connstr('postgres') ], "$table: pg_dump meanwhile");
	}
	is(join("\n", @failed), '', "$table: built concurrently $done times beside writers");
	foreach my $writer (@writers)
	{
		# Between DROP and RENAME there is no index of that name to merge; while it
		# is dropped concurrently it is not valid, and may go after its name was read.
		my $fine = finish_background($writer) || $writer->{err} =~
		  /relation "${table}_v" does not exist|relation with OID \d+ does not exist|index "${table}_v" is not valid/;
		ok($fine, "$table: no writer is disturbed") or diag($writer->{err});
	}
	is_sound('built concurrently', $table);
	is(result("SELECT count(*) FROM pg_index WHERE NOT indisvalid"), 0, 'no invalid index is left');
	goes_on('built concurrently', $node, $table, $dim);

	$node->safe_psql('postgres', "CREATE DATABASE restored TEMPLATE template0");
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $file ], "$table: restored");
	is_sound('restored', $_, 'restored') foreach @tables;
	goes_on('restored', $node, $table, $dim, 'restored');
	$node->safe_psql('postgres', 'DROP DATABASE restored');
}
lap('concurrently');

ok(!server_crashed($node), 'the server never crashed');
$node->stop;

done_testing();
