# Merges in the background: that a worker comes and goes, and that it is in
# nobody's way; hnsw_mmap_merge in a session; who may do what.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $dim = 64;
my $rows = 9000;

my $node = new_node('worker', <<CONF, allows_streaming => 1);
max_connections = 60
max_worker_processes = 10
deadlock_timeout = 30s
log_min_messages = debug1
CONF

$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN; CREATE ROLE stranger LOGIN; CREATE TABLE other (id int)');

# prepare(TABLE, [DATABASE]): a table of a role that is no superuser, with an
# index whose log is so long that to merge it takes some seconds.
sub prepare
{
	my ($table, $database) = @_;

	$node->safe_psql($database // 'postgres', <<SQL);
SET hnsw_mmap.background_merge = off;
SET hnsw_mmap.merge_log_entries = 1000000;
CREATE TABLE $table (id int PRIMARY KEY, v real[]);
ALTER TABLE $table OWNER TO owner;
CREATE INDEX ${table}_v ON $table USING hnsw_mmap (v) WITH (m = 32, ef_construction = 2000);
INSERT INTO $table SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, $rows) AS i;
SQL
}

sub workers
{
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'hnsw_mmap merge worker'");
}

# wait_until(WHAT, [SECONDS]): true as soon as the function returns true.
sub wait_until
{
	my ($what, $seconds) = @_;
	my $end = time + ($seconds // 180);

	while (time < $end)
	{
		return 1 if $what->();
		sleep 0.05;
	}
	return 0;
}

sub no_worker { return wait_until(sub { workers() eq '' }, $_[0]); }

# start_merge(TABLE, [DATABASE]): has VACUUM ask for a merge, and returns the
# worker's process id once it merges.
sub start_merge
{
	my ($table, $database) = @_;
	my $pid = '';

	$node->safe_psql($database // 'postgres', "SET hnsw_mmap.merge_log_entries = 500; VACUUM $table");
	wait_until(sub {
			$pid = $node->safe_psql($database // 'postgres',
				"SELECT pid FROM hnsw_mmap_merge_progress() WHERE index = '${table}_v'::regclass");
			return $pid ne '';
		});
	return $pid;
}

# Complaints in the server's log since a place in it.
sub complaints
{
	my ($from) = @_;
	my @lines = split /\n/, substr(slurp_file($node->logfile), $from);

	return join("\n", grep { /(WARNING|ERROR|FATAL|PANIC): |background worker/ && !/ DEBUG: / } @lines);
}

sub log_place { return -s $node->logfile; }

# ---- A worker comes, merges, and goes ----

$node->safe_psql('postgres', <<SQL);
CREATE FUNCTION who(v real[]) RETURNS real[] IMMUTABLE LANGUAGE plpgsql AS \$\$
BEGIN
    IF current_setting('application_name') = 'hnsw_mmap merge worker' THEN
        RAISE LOG 'evaluated by % along %', current_user, current_setting('search_path');
    END IF;
    RETURN v;
END \$\$;
CREATE TABLE small (id int, v real[]);
ALTER TABLE small OWNER TO owner;
CREATE INDEX small_v ON small USING hnsw_mmap (who(v)) WITH (vectors = 'fp16');
SQL
my $place = log_place();
$node->safe_psql('postgres', "INSERT INTO small SELECT i, hm_test.vec(i / 2, $dim) FROM generate_series(1, 3000) AS i");
ok(wait_until(sub {
			# Whoever inserts next asks again, should the first worker have come too early.
			$node->safe_psql('postgres', "INSERT INTO small SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 10) AS i");
			return $node->safe_psql('postgres', "SELECT log_entries < 1000 FROM hnsw_mmap_stats('small_v')") eq 't';
		}), 'a long log is merged without anybody\'s doing');
ok(no_worker(), 'and the worker goes');
my @evaluated = grep { /evaluated by/ } split /\n/, substr(slurp_file($node->logfile), $place);
note(scalar(@evaluated) . ' evaluations of the index expression');
is(join("\n", grep { !/evaluated by owner along pg_catalog, pg_temp/ } @evaluated), '',
	'code of the index runs as the owner, with a safe search path');

prepare('items');
my $pid = start_merge('items');
like($pid, qr/^\d+$/, 'a worker merges');
is($node->safe_psql('postgres', "SELECT query, state, application_name FROM pg_stat_activity WHERE pid = $pid"),
	'hnsw_mmap: merging index public.items_v|active|hnsw_mmap merge worker', 'it says in pg_stat_activity what it does');
my $seen = "SELECT count(*) FROM hnsw_mmap_merge_progress() WHERE pid = $pid AND phase <> 'unknown' AND done <= total";
is($node->safe_psql('postgres', $seen), 1, 'its progress is seen by superusers');
is($node->safe_psql('postgres', $seen, extra_params => [ '-U', 'owner' ]), 1, 'and by the owner');
is($node->safe_psql('postgres', $seen, extra_params => [ '-U', 'stranger' ]), 0, 'but not by others');

# ---- What goes on beside a merge ----

$node->safe_psql('postgres', <<SQL);
SET hnsw_mmap.merge_log_entries = 500;
INSERT INTO items SELECT i, hm_test.vec(i, $dim) FROM generate_series($rows + 1, $rows + 50) AS i;
UPDATE items SET v = hm_test.vec(-id, $dim) WHERE id BETWEEN 10 AND 20;
DELETE FROM items WHERE id = 1;
SET enable_seqscan = off;
SELECT id FROM items ORDER BY v <-> hm_test.vec(7, $dim) LIMIT 3;
VACUUM items;
ANALYZE items;
SQL
is(workers(), $pid, 'readers, writers and VACUUM are not held up, nor do they disturb the worker, or start another');

# ---- A worker stopped ----

$place = log_place();
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
ok(no_worker(), 'a worker can be cancelled');
like(substr(slurp_file($node->logfile), $place), qr/canceling statement due to user request/, 'which the log says');
$pid = start_merge('items');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok(no_worker(), 'and terminated');
sleep 1.5;
is(workers(), '', 'without being started again');

# ---- Nobody waits for a worker ----

# makes_way(WHAT, STATEMENT, [DATABASE, WHERE]): the statement must succeed while a
# worker merges, since that leaves before it is done; without a word, but for
# those who want to know.  The server gives others five seconds to leave a
# database, which may be short on a machine with much else to do: then again.
sub makes_way
{
	my ($what, $statement, $database, $where) = @_;
	my $worker = start_merge('items', $database);

	ok($worker ne '', "$what: a worker merges");
	my $from = log_place();
	my $busy = qr/is being accessed by other users/;
	my ($rc, $out, $err);
	for (1 .. 5)
	{
		($rc, $out, $err) = run_sql($node, $statement, $where // $database);
		last if $rc == 0 || $err !~ $busy;
	}
	is($rc, 0, "$what: succeeds") or diag($err);
	ok(no_worker(), "$what: the worker is gone");
	like(substr(slurp_file($node->logfile), $from), qr/\[$worker\].* DEBUG: .* merge of index "items_v" makes way for another process/,
		"$what: it made way");
	is(join("\n", grep { $_ !~ $busy } split(/\n/, complaints($from))), '', "$what: nothing is reported");
}

makes_way('ALTER TABLE', 'ALTER TABLE items ADD COLUMN n int DEFAULT 1');
makes_way('LOCK TABLE', 'BEGIN; LOCK TABLE items; COMMIT');
makes_way('ALTER INDEX', 'ALTER INDEX items_v SET (ef_construction = 1000)');
makes_way('CREATE INDEX CONCURRENTLY elsewhere', 'CREATE INDEX CONCURRENTLY other_id ON other (id)');
makes_way('CREATE DATABASE from this one', 'CREATE DATABASE copied TEMPLATE postgres', 'postgres', 'template1');
makes_way('TRUNCATE', 'TRUNCATE items');
$node->safe_psql('postgres', 'DROP TABLE items');
prepare('items');
makes_way('DROP INDEX CONCURRENTLY', 'DROP INDEX CONCURRENTLY items_v');
$node->safe_psql('postgres', 'DROP TABLE items');
prepare('items');
makes_way('DROP INDEX', 'DROP INDEX items_v');

# VACUUM does not wait for the lock that it needs to shorten the table.
$node->safe_psql('postgres', 'DROP TABLE items');
prepare('items');
is($node->safe_psql('postgres', <<SQL), 't', 'VACUUM cuts off the empty end of a table before the worker that it asks for begins');
DELETE FROM items WHERE id > 10;
SET hnsw_mmap.merge_log_entries = 500;
VACUUM items;
SELECT pg_relation_size('items') < 65536;
SQL
ok(no_worker(), 'then the worker merges');

$node->safe_psql('postgres', 'CREATE DATABASE doomed');
prepare_database($node, 'doomed');
prepare('items', 'doomed');
makes_way('DROP DATABASE', 'DROP DATABASE doomed', 'doomed', 'postgres');

# ---- One worker for an index ----

$node->safe_psql('postgres', 'DROP TABLE items');
prepare('items');
my @sessions = map { background($node, <<SQL) } 1 .. 8;
SET hnsw_mmap.merge_log_entries = 500;
INSERT INTO items SELECT $_ * 100000 + i, hm_test.vec($_ * 100000 + i, $dim) FROM generate_series(1, 200) AS i;
-- By then every one of them must have asked.
SELECT pg_sleep(0.6);
INSERT INTO items VALUES ($_ * 100000, hm_test.vec($_, $dim));
SQL
my $failed = grep { !finish_background($_) } @sessions;
is($failed, 0, 'several sessions ask for a merge at once');
ok(wait_until(sub { workers() =~ /^\d+$/ }), 'one worker remains');
is($node->safe_psql('postgres', 'SELECT count(*) FROM hnsw_mmap_merge_progress()'), 1, 'and merges');

# ---- hnsw_mmap_merge ----

# It waits for the worker's merge, and then there is next to nothing left.
my ($rc, $out, $err) = run_sql($node, "SELECT log_entries >= 0 FROM hnsw_mmap_merge('items_v')");
is($out, 't', 'hnsw_mmap_merge waits for a worker') or diag($err);
ok(no_worker(), 'which has merged');
is($node->safe_psql('postgres', "SELECT log_entries FROM hnsw_mmap_stats('items_v')"), 0, 'the log is empty');
is($node->safe_psql('postgres', "SELECT * FROM hnsw_mmap_merge('items_v')"), '0|0|0|0|0|0|0|0|0', 'with nothing to do it does nothing');
is($node->safe_psql('postgres', "SELECT log_entries FROM hnsw_mmap_merge('items_v', full => true)"), 0, 'full merge');
is($node->safe_psql('postgres', <<SQL), 1, 'in a transaction block, with its own row');
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO items VALUES (0, hm_test.vec(0, $dim));
SELECT log_entries FROM hnsw_mmap_merge('items_v');
ROLLBACK;
SQL
is($node->safe_psql('postgres', 'SELECT count(*) FROM hnsw_mmap_merge_progress()'), 0, 'nothing is shown as going on');

$node->safe_psql('postgres', 'DROP TABLE items');
prepare('items');
my $session = background($node, "SELECT inserted FROM hnsw_mmap_merge('items_v')");
ok(wait_until(sub { $node->safe_psql('postgres', 'SELECT count(*) FROM hnsw_mmap_merge_progress()') eq 1 }),
	'a merge in a session is shown too');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM hnsw_mmap_merge_progress()');
ok(!finish_background($session), 'it can be cancelled');
like($session->{err}, qr/57014/, 'with the usual error');
is($node->safe_psql('postgres', 'SELECT count(*) FROM hnsw_mmap_merge_progress()'), 0, 'and is no longer shown');

# ---- Who may, and what ----

# fails(WHAT, SQL, PATTERN, [ROLE])
sub fails
{
	my ($what, $sql, $pattern, $role) = @_;
	my ($status, $output, $error) = run_sql($node, ($role ? "SET ROLE $role;" : '') . $sql);

	isnt($status, 0, "$what: fails");
	like($error, $pattern, "$what: says why");
}

$node->safe_psql('postgres', <<SQL);
CREATE INDEX other_btree ON other (id);
CREATE TABLE split (id int, v real[]) PARTITION BY RANGE (id);
CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (0) TO (10);
CREATE INDEX split_v ON split USING hnsw_mmap (v);
SQL
fails('another\'s index', "SELECT hnsw_mmap_merge('items_v')",
	qr/42501.*(must be owner of index items_v|permission denied for table items)/, 'stranger');
fails('a table', "SELECT hnsw_mmap_merge('other')", qr/42809.*"other" is not an hnsw_mmap index/);
fails('a btree', "SELECT hnsw_mmap_merge('other_btree')", qr/42809.*"other_btree" is not an hnsw_mmap index/);
fails('a partitioned index', "SELECT hnsw_mmap_merge('split_v')", qr/42809.*"split_v" is a partitioned index/);
fails('nothing', 'SELECT hnsw_mmap_merge(1)', qr/42P01.*relation with OID 1 does not exist/);
fails('background_merge', 'LOAD \'hnsw_mmap\'; SET hnsw_mmap.background_merge = off', qr/42501/, 'stranger');
is($node->safe_psql('postgres', 'SELECT hnsw_mmap_merge(NULL) IS NULL'), 't', 'NULL of NULL');
is($node->safe_psql('postgres', "SET ROLE owner; SELECT log_entries >= 0 FROM hnsw_mmap_merge('small_v')"), 't', 'the owner may');
is($node->safe_psql('postgres', <<SQL), 1, 'a temporary index can be merged');
CREATE TEMPORARY TABLE mine (v real[]);
CREATE INDEX mine_v ON mine USING hnsw_mmap (v);
INSERT INTO mine VALUES ('{1,2}');
SELECT log_entries FROM hnsw_mmap_merge('mine_v');
SQL

# ---- No worker ----

# asks_in_vain(WHAT, SQL): the statements succeed, and start no worker.
sub asks_in_vain
{
	my ($what, $sql) = @_;
	my ($status, $output, $error) = run_sql($node, "SET hnsw_mmap.merge_log_entries = 10; $sql");

	is($status, 0, "$what: no error") or diag($error);
	sleep 0.5;
	is(workers(), '', "$what: no worker");
}

my $some = "INSERT INTO fresh SELECT hm_test.vec(i, $dim) FROM generate_series(1, 500) AS i;";
my $insert = "$some SELECT pg_sleep(0.6); $some";
$node->safe_psql('postgres', 'DROP TABLE items');
prepare('items');
asks_in_vain('background_merge = off', 'SET hnsw_mmap.background_merge = off; VACUUM items');
asks_in_vain('an index of this transaction',
	"BEGIN; CREATE TABLE fresh (v real[]); CREATE INDEX fresh_v ON fresh USING hnsw_mmap (v); $insert COMMIT");
asks_in_vain('a table locked by this transaction', "BEGIN; LOCK TABLE fresh; $insert SELECT pg_sleep(0.3); COMMIT");
asks_in_vain('a temporary table',
	"CREATE TEMPORARY TABLE fresh (v real[]); CREATE INDEX ON fresh USING hnsw_mmap (v); $insert");

$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
$place = log_place();
asks_in_vain('no free worker process', "VACUUM items; $insert");
is(complaints($place), '', 'which nobody is told');

# ---- In recovery ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('worker_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my ($standby_rc, $standby_out, $standby_err) = run_sql($standby, "SELECT hnsw_mmap_merge('items_v')");
like($standby_err, qr/55000.*recovery is in progress/, 'a standby merges nothing');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM hnsw_mmap_merge_progress()'), 0, 'and shows no merges');
$standby->stop;

ok(!server_crashed($node), 'the server never crashed');
$node->stop;

done_testing();
