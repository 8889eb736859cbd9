# Copies of a server: standbys that answer while they replay everything that can
# be done to an index, a cascaded one, promotion, base backups of a busy server,
# recovery to a point in time, pg_rewind (scenario 13).  Each copy is used and
# merged on afterwards.

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
my @tables = ('items_heap', 'items_fp16');
my $start = time;

sub lap
{
	note(sprintf('%s: %.1f s', $_[0], time - $start));
	$start = time;
}

my $primary = new_node('primary', <<CONF, allows_streaming => 1, has_archiving => 1, extra => ['--data-checksums']);
hnsw_mmap.background_merge = off
wal_keep_size = 1GB
wal_receiver_status_interval = 1
max_standby_streaming_delay = -1
CONF

prepare_worn($primary);
foreach my $mode ('heap', 'fp16')
{
	fill($primary, "items_$mode", $dim, 1, 600);
	$primary->safe_psql('postgres', "CREATE INDEX items_${mode}_v ON items_$mode USING hnsw_mmap (v) WITH (vectors = '$mode', m = 8, ef_construction = 64)");
	wear($primary, "items_$mode", $dim);
}

sub all_sound
{
	my ($what, $node) = @_;

	is(sound($node, $_, $dim), 'sound', "$what: $_") foreach @tables;
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

sub retired { return $primary->safe_psql('postgres', "SELECT blocks_retired FROM hnsw_mmap_check('$_[0]_v')"); }

# The first merge retires what it replaces, the second one uses that again, unless
# somebody may read it.  Nothing is updated or deleted: no other record conflicts.
sub merge_twice
{
	my ($table) = @_;

	$primary->safe_psql('postgres', <<SQL) for 1 .. 2;
INSERT INTO $table (id, v) SELECT id, hm_test.vec(id, $dim) FROM (SELECT nextval('hm_worn.ids') AS id FROM generate_series(1, 20)) AS s;
SELECT hnsw_mmap_merge('${table}_v', true);
SQL
}

# copy_of(NODE, NAME, BACKUP, SETTINGS, OPTIONS...): a server made from a backup, and
# started.  It must not archive where the first one does.
sub copy_of
{
	my ($node, $name, $backup, $settings, @options) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);

	$copy->init_from_backup($node, $backup, @options);
	$copy->append_conf('postgresql.conf', "archive_mode = off\n$settings");
	$copy->start;
	return $copy;
}

# A cursor over all rows, of which some are fetched.
my $open_cursor = <<SQL;
SET enable_seqscan = off; SET enable_sort = off; SET hnsw_mmap.iterative_scan = relaxed_order; SET hnsw_mmap.ef_search = 20;
BEGIN ISOLATION LEVEL REPEATABLE READ;
DECLARE c CURSOR FOR SELECT id FROM TABLE_NAME ORDER BY v <-> hm_test.vec(0, $dim);
SQL

sub hold_cursor
{
	my ($node, $table) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	(my $sql = $open_cursor) =~ s/TABLE_NAME/$table/;
	$session->query($sql);
	my @first = split /\n/, $session->query('FETCH 50 FROM c');
	return { session => $session, table => $table, first => \@first };
}

# How the rest of its rows compares with what its snapshot sees; ends it.
sub end_cursor
{
	my ($cursor) = @_;
	my @ids = (@{ $cursor->{first} }, split /\n/, $cursor->{session}->query('FETCH ALL FROM c'));
	my @exact = split /\n/, $cursor->{session}->query("SET LOCAL enable_indexscan = off; SELECT id FROM $cursor->{table}");

	$cursor->{session}->query('COMMIT');
	$cursor->{session}->quit;
	return join(' ', sort { $a <=> $b } @ids) eq join(' ', sort { $a <=> $b } @exact)
	  ? 'right' : sprintf('%d rows of %d', scalar @ids, scalar @exact);
}

$primary->backup('first');
my $standby = copy_of($primary, 'standby', 'first', '', has_streaming => 1);
$standby->backup('second');
my $cascaded = copy_of($standby, 'cascaded', 'second', '', has_streaming => 1);
$primary->wait_for_catchup($standby);
all_sound('standby', $standby);
is_worn($standby, $_) foreach @tables;
$standby->wait_for_catchup($cascaded, 'replay', $primary->lsn('write'));
all_sound('standby of a standby, from its backup', $cascaded);
lap('standbys');

# ---- An old scan on the standby, and space that is used again ----

foreach my $table (@tables)
{
	# Without feedback replay waits where the space is to be used again.
	my $cursor = hold_cursor($standby, $table);
	merge_twice($table);
	ok(wait_until(sub { $standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'RecoveryConflictSnapshot'") eq '1' }),
		"$table: replay waits for a scan that reads retired space");
	is(end_cursor($cursor), 'right', "$table: which is right to its end");
	$primary->wait_for_catchup($standby);
	is(sound($standby, $table, $dim), 'sound', "$table: replay goes on");
}

$standby->append_conf('postgresql.conf', 'hot_standby_feedback = on');
$standby->reload;
foreach my $table (@tables)
{
	# With feedback the primary knows, and does not use it.
	merge_twice($table);
	$primary->wait_for_catchup($standby);
	my $cursor = hold_cursor($standby, $table);
	my $xmin = $standby->safe_psql('postgres', 'SELECT max(backend_xmin::text::int) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()');
	ok(wait_until(sub { $primary->safe_psql('postgres', "SELECT backend_xmin::text::int <= $xmin FROM pg_stat_replication WHERE application_name = 'standby'") eq 't' }),
		"$table: the primary hears of a scan on the standby");
	merge_twice($table);
	my $before = retired($table);
	merge_twice($table);
	cmp_ok(retired($table), '>', $before, "$table: nothing that it may read is used again");
	$primary->wait_for_catchup($standby);
	is(end_cursor($cursor), 'right', "$table: it is right to its end");
	ok(wait_until(sub { merge_twice($table); retired($table) < $before }), "$table: then it is used");
	$primary->wait_for_catchup($standby);
	is(sound($standby, $table, $dim), 'sound', "$table: sound after that");
}
$standby->append_conf('postgresql.conf', "hot_standby_feedback = off\nmax_standby_streaming_delay = 200ms");
$standby->reload;
lap('old scans');

# ---- Answers while everything is replayed, and base backups meanwhile ----

# Statements that do all that can be done to an index.
sub churn
{
	my ($table, $rounds) = @_;

	return join('', map {
			my $i = $_;
			(live($table, $dim, 60),
				"SELECT log_entries FROM hnsw_mmap_merge('${table}_v');\n",
				$i % 2 == 0 ? "VACUUM $table;\n" : '',
				live($table, $dim, 10),
				$i % 3 == 0 ? "SELECT log_entries FROM hnsw_mmap_merge('${table}_v', true);\n" : '',
				$i % 7 == 3 ? "REINDEX INDEX ${table}_v;\n" : '',
				$i % 7 == 5 ? "REINDEX INDEX CONCURRENTLY ${table}_v;\n" : '',
				$i % 11 == 7 ? "BEGIN; DROP INDEX ${table}_v; CREATE INDEX ${table}_v ON $table USING hnsw_mmap (v) WITH (vectors = '" . substr($table, 6) . "'); COMMIT;\n" : '',
				$i % 13 == 12 ? "TRUNCATE $table; INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 300) AS i;\n" : '')
		} 1 .. $rounds);
}

# A base backup, which does not wait: pg_basebackup verifies checksums.
sub start_backup
{
	my ($name) = @_;
	my $run = { out => '', err => '' };

	$run->{handle} = IPC::Run::start(
		[ 'pg_basebackup', '--no-sync', '--checkpoint', 'fast', '-D', $primary->backup_dir . "/$name", '-d', $primary->connstr ],
		'>', \$run->{out}, '2>', \$run->{err}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $run;
}

# Several transactions in one session, as what it has mapped may be replaced.
sub questions
{
	my ($seed) = @_;

	return join('', map { <<SQL } @tables, @tables);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL hnsw_mmap.iterative_scan = relaxed_order;
SET LOCAL hnsw_mmap.ef_search = 40;
SELECT hm_test.indexed_ids('$_', d) IS NOT DISTINCT FROM hm_test.exact_ids('$_', d)
  FROM hm_test.distance('v', '<->', hm_test.vec($seed, $dim)) AS d;
COMMIT;
SQL
}

my @churn = map { background($primary, churn($_, 40)) } @tables;
my ($answered, $conflicts, $without, $seed, @unexpected) = (0, 0, 0, 0);
my @backups;

while (grep { $_->{handle}->pumpable } @churn)
{
	$_->{handle}->pump_nb foreach grep { $_->{handle}->pumpable } @churn, @backups;
	push @backups, start_backup('busy' . (1 + @backups)) if @backups < 2 && !grep { $_->{handle}->pumpable } @backups;
	my ($rc, $out, $err) = run_sql($seed % 3 == 2 ? $cascaded : $standby, questions(++$seed));
	$answered += () = $out =~ /^t$/mg;
	push @unexpected, "wrong answer: $out" if $out =~ /[^t\n]/;
	if ($err =~ /conflict with recovery/) { $conflicts++; }
	elsif ($err =~ /no hnsw_mmap index is used/) { $without++; }
	elsif ($rc != 0) { push @unexpected, $err; }
}
foreach my $i (0 .. 1)
{
	ok(finish_background($churn[$i]), "$tables[$i]: the primary went on meanwhile") or diag($churn[$i]->{err});
}
is(join("\n", grep { defined } @unexpected[ 0 .. 4 ]), '',
	"queries during replay ($answered answered, $conflicts cancelled by conflicts, $without without an index)");
cmp_ok($answered, '>', 10, 'enough of them were answered');
foreach my $i (1, 2)
{
	ok(defined $backups[ $i - 1 ] && finish_background($backups[ $i - 1 ]), "busy server's backup $i: page checksums are right")
	  or diag($backups[ $i - 1 ]->{err});
}
my $end_of_churn = $primary->lsn('write');
$primary->wait_for_catchup($standby);
all_sound('primary, after all that', $primary);
all_sound('standby, after all that', $standby);
$standby->wait_for_catchup($cascaded, 'replay', $end_of_churn);
all_sound('cascaded standby, after all that', $cascaded);
$cascaded->stop;
lap('replay');

foreach my $i (1, 2)
{
	command_ok([ 'pg_verifybackup', $primary->backup_dir . "/busy$i" ], "busy server's backup $i: pg_verifybackup");
	my $restored = copy_of($primary, "busy$i", "busy$i", '');
	all_sound("busy server's backup $i", $restored);
	goes_on("busy server's backup $i", $restored, $_, $dim) foreach @tables;
	$restored->stop;
	command_ok([ 'pg_checksums', '--check', '-D', $restored->data_dir ], "busy server's backup $i: pg_checksums");
	$restored->clean_node;
}
lap('backups');

# ---- Recovery to a point in time ----

# In the middle of a merge, whose pages are half there; and of a REINDEX.
my %target;
foreach my $table (@tables)
{
	wear($primary, $table, $dim);
	$primary->safe_psql('postgres', live($table, $dim, 200));
}
$target{'a named point'} = [ name => 'worn' ];
$primary->safe_psql('postgres', "SELECT pg_create_restore_point('worn')");
my $rows = $primary->safe_psql('postgres', 'SELECT count(*), sum(n) FROM items_fp16');
my $before = $primary->lsn('insert');
$primary->safe_psql('postgres', "SELECT hnsw_mmap_merge('items_heap_v', true); SELECT hnsw_mmap_merge('items_fp16_v')");
my $after = $primary->lsn('insert');
foreach my $part (1, 2)
{
	$target{"$part/3 of two merges"} = [ lsn => $primary->safe_psql('postgres', "SELECT '$before'::pg_lsn + ('$after'::pg_lsn - '$before'::pg_lsn) * $part / 3") ];
}
$before = $after;
$primary->safe_psql('postgres', 'REINDEX INDEX items_fp16_v');
$after = $primary->lsn('insert');
$target{'middle of REINDEX'} = [ lsn => $primary->safe_psql('postgres', "SELECT '$before'::pg_lsn + ('$after'::pg_lsn - '$before'::pg_lsn) / 2") ];
$primary->safe_psql('postgres', 'TRUNCATE items_heap; DROP INDEX items_fp16_v; SELECT pg_switch_wal()');
ok(wait_until(sub { $primary->safe_psql('postgres', "SELECT last_archived_wal >= pg_walfile_name('$after') FROM pg_stat_archiver") eq 't' }), 'all of it is archived');

my $number = 0;
foreach my $what (sort keys %target)
{
	my ($kind, $value) = @{ $target{$what} };
	my $node = copy_of($primary, 'point' . ++$number, 'busy2',
		"recovery_target_$kind = '$value'\nrecovery_target_action = 'promote'\n", has_restoring => 1, standby => 0);

	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	is($node->safe_psql('postgres', 'SELECT count(*), sum(n) FROM items_fp16'), $rows, "$what: the rows of that moment");
	note("$_: " . $node->safe_psql('postgres', "SELECT format('%s parts, %s log entries, %s blocks pending, %s behind the end', parts, log_entries, blocks_pending, blocks_behind_end) FROM hnsw_mmap_check('${_}_v')"))
	  foreach @tables;
	all_sound($what, $node);
	is_worn($node, $_) foreach $kind eq 'name' ? @tables : ();
	goes_on($what, $node, $_, $dim) foreach @tables;
	$node->stop('immediate');
	$node->clean_node;
}
lap('point in time');

# ---- Promotion beside open scans ----

foreach my $table (@tables)
{
	$primary->safe_psql('postgres', "TRUNCATE $table; DROP INDEX IF EXISTS ${table}_v; INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 600) AS i");
	$primary->safe_psql('postgres', "CREATE INDEX ${table}_v ON $table USING hnsw_mmap (v) WITH (m = 8, vectors = '" . substr($table, 6) . "')");
	wear($primary, $table, $dim);
}
$primary->wait_for_catchup($standby);
my @cursors = map { hold_cursor($standby, $_) } @tables;
$standby->promote;
foreach my $table (@tables)
{
	$standby->safe_psql('postgres', live($table, $dim, 30) . "SELECT hnsw_mmap_merge('${table}_v', true)") for 1 .. 3;
	$standby->safe_psql('postgres', "VACUUM $table");
}
is(end_cursor($_), 'right', "$_->{table}: a scan that a standby began is right after promotion, merges and VACUUM") foreach @cursors;
all_sound('promoted', $standby);
goes_on('promoted', $standby, $_, $dim) foreach @tables;
wear($standby, $_, $dim) foreach @tables;
kill_server($standby);
$standby->start;
all_sound('promoted, after a crash', $standby);
lap('promotion');

# ---- pg_rewind: the old primary went another way ----

foreach my $table (@tables)
{
	$primary->safe_psql('postgres', live($table, $dim, 150) . "VACUUM $table; SELECT hnsw_mmap_merge('${table}_v'); " . live($table, $dim, 20));
}
$primary->safe_psql('postgres', "SELECT hnsw_mmap_merge('items_heap_v', true); REINDEX INDEX items_fp16_v; DELETE FROM items_fp16 WHERE id % 3 = 0; VACUUM");
$standby->safe_psql('postgres', 'CHECKPOINT');
$primary->stop;
command_ok([ 'pg_rewind', '--no-sync', '--source-server', $standby->connstr('postgres'), '--target-pgdata', $primary->data_dir ], 'pg_rewind');
# It copies the other's settings, too.
$primary->append_conf('postgresql.conf', 'port = ' . $primary->port);
$primary->append_conf('postgresql.conf', "primary_conninfo = '" . $standby->connstr . " application_name=primary'");
$primary->set_standby_mode;
$primary->start;
$standby->wait_for_catchup($primary);
all_sound('rewound', $primary);
is_worn($primary, $_) foreach @tables;
foreach my $table (@tables)
{
	$standby->safe_psql('postgres', live($table, $dim, 50) . "SELECT hnsw_mmap_merge('${table}_v'); VACUUM $table");
}
$standby->wait_for_catchup($primary);
all_sound('rewound, and following', $primary);
$standby->stop;
$primary->promote;
all_sound('rewound and promoted', $primary);
goes_on('rewound and promoted', $primary, $_, $dim) foreach @tables;
ok(!server_crashed($_), $_->name . ' never crashed') foreach $primary, $cascaded;
$primary->stop;
lap('pg_rewind');

done_testing();
