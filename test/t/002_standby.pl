# A streaming standby (scenario 13), and databases copied from a template
# (scenario 16): places where an index's file may be zeros or old for long,
# while its pages are right in shared buffers.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $dim = 16;
my $primary = new_node('primary', "max_standby_streaming_delay = 1s\n", allows_streaming => 1);

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $promoted = 0;

# Both modes; as a standby it has replayed what the primary has written.
sub both_agree
{
	my ($what) = @_;

	$primary->wait_for_catchup($standby) unless $promoted;
	foreach my $table ('items_heap', 'items_fp16')
	{
		is(compare($standby, $table, $dim), 0, "$what: $table, full recall");
		is(complete($standby, $table, $dim), 't', "$what: $table, every row once");
	}
}

sub on_both
{
	my ($sql) = @_;

	foreach my $table ('items_heap', 'items_fp16')
	{
		(my $statement = $sql) =~ s/TABLE_NAME/$table/g;
		$primary->safe_psql('postgres', $_) foreach split /;\n/, $statement;
	}
}

foreach my $mode ('heap', 'fp16')
{
	fill($primary, "items_$mode", $dim, 1, 4000);
	$primary->safe_psql('postgres', "CREATE INDEX items_${mode}_v ON items_$mode USING hnsw_mmap (v) WITH (vectors = '$mode')");
}

# Before any restartpoint nothing has been flushed: the file itself is no index.
$primary->wait_for_catchup($standby);
my $path = index_path($standby, 'items_heap_v');
my $zeros = grep { read_block($path, $_) eq "\0" x 8192 } 0 .. block_count($path) - 1;
cmp_ok($zeros, '>', 0, "the standby's file has pages that are not flushed ($zeros)");
both_agree('fresh on the standby');
both_agree('fresh on the standby, again in a new session');

fill($primary, 'items_heap', $dim, 4001, 4300);
fill($primary, 'items_fp16', $dim, 4001, 4300);
both_agree('after inserts');
on_both("DELETE FROM TABLE_NAME WHERE id % 7 = 0");
both_agree('after deletes');
on_both("VACUUM TABLE_NAME");
both_agree('after VACUUM');
fill($primary, 'items_heap', $dim, 4301, 4900);
fill($primary, 'items_fp16', $dim, 4301, 4900);
both_agree('after rows in the places of others');

# A standby session that stays connected must notice what replay changes.
my $session = $standby->background_psql('postgres', on_error_stop => 0);
$session->query('SET enable_seqscan = off; SET enable_sort = off');
my $near = "SELECT count(*), min(id) > 0 FROM (SELECT id FROM items_heap ORDER BY v <-> hm_test.vec(0, $dim) LIMIT 10) AS s";
is(scalar $session->query($near), '10|t', 'a session on the standby');
on_both("REINDEX INDEX TABLE_NAME_v");
both_agree('after REINDEX');
is(scalar $session->query($near), '10|t', 'the session, after REINDEX');
on_both("VACUUM FULL TABLE_NAME");
both_agree('after VACUUM FULL');
is(scalar $session->query($near), '10|t', 'the session, after VACUUM FULL');
on_both("TRUNCATE TABLE_NAME");
$primary->wait_for_catchup($standby);
is(scalar $session->query($near), '0|', 'the session, after TRUNCATE');
both_agree('after TRUNCATE');
fill($primary, 'items_heap', $dim, 2, 1500);
fill($primary, 'items_fp16', $dim, 2, 1500);
both_agree('filled again, by the log alone');
on_both("DROP INDEX TABLE_NAME_v");
$primary->wait_for_catchup($standby);
is(scalar $session->query("SELECT count(*) FROM (SELECT id FROM items_heap ORDER BY v <-> hm_test.vec(0, $dim) LIMIT 10) AS s"),
	'10', 'the session, after DROP INDEX');
$session->quit;

# Queries while replay goes on: only a conflict with recovery may cancel them.
foreach my $mode ('heap', 'fp16')
{
	$primary->safe_psql('postgres', "CREATE INDEX items_${mode}_v ON items_$mode USING hnsw_mmap (v) WITH (vectors = '$mode')");
}
$primary->wait_for_catchup($standby);
my $churn = background($primary, join("\n", map {
			my $i = $_;
			("INSERT INTO items_heap (id, v) SELECT 100000 + $i * 100 + j, hm_test.vec($i * 100 + j, $dim) FROM generate_series(1, 50) AS j;",
				"DELETE FROM items_heap WHERE id % 13 = $i % 13;",
				'VACUUM items_heap;',
				$i % 4 == 0 ? 'REINDEX INDEX items_heap_v;' : '',
				$i % 10 == 0 ? 'TRUNCATE items_heap; INSERT INTO items_heap (id, v) SELECT j, hm_test.vec(j, ' . $dim . ') FROM generate_series(1, 500) AS j;' : '')
		} 1 .. 40));
my ($asked, $conflicts, @unexpected) = (0, 0);
while ($churn->{handle}->pumpable)
{
	$churn->{handle}->pump_nb;
	my ($rc, $out, $err) = run_sql($standby, <<SQL);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL hnsw_mmap.iterative_scan = relaxed_order;
SELECT hm_test.indexed_ids('items_heap', d) IS NOT DISTINCT FROM hm_test.exact_ids('items_heap', d)
  FROM hm_test.distance('v', '<->', hm_test.vec(0, $dim)) AS d;
COMMIT;
SQL
	$asked++;
	if ($rc == 0) { push @unexpected, "wrong answer: $out" if $out ne 't'; }
	elsif ($err =~ /conflict with recovery/) { $conflicts++; }
	else { push @unexpected, $err; }
	last if $asked > 2000;
}
ok(finish_background($churn), 'the primary went on meanwhile') or diag($churn->{err});
is(join("\n", @unexpected[ 0 .. ($#unexpected > 4 ? 4 : $#unexpected) ]), '', "queries during replay ($asked, $conflicts cancelled by conflicts)");
cmp_ok($asked - $conflicts, '>', 5, 'enough of them were answered');
both_agree('after all that');

# A standby that dies without a restartpoint replays everything anew.
kill_server($standby);
$standby->start;
both_agree('after a crash of the standby');

# Copies of a database: the default strategy writes pages through shared
# buffers, so that the new files stay empty until a checkpoint.
$primary->safe_psql('postgres', "CREATE DATABASE copy_source TEMPLATE template0");
prepare_database($primary, 'copy_source');
$primary->safe_psql('copy_source', <<SQL);
CREATE TABLE items (id int PRIMARY KEY, v real[]);
INSERT INTO items SELECT i, hm_test.vec(i, $dim) FROM generate_series(1, 3000) AS i;
CREATE INDEX items_v ON items USING hnsw_mmap (v) WITH (vectors = 'fp16');
CREATE INDEX items_ip ON items USING hnsw_mmap (v real_ip_ops);
INSERT INTO items SELECT i, hm_test.vec(i, $dim) FROM generate_series(3001, 3100) AS i;
DELETE FROM items WHERE id % 9 = 0;
VACUUM items;
SQL
foreach my $strategy ('wal_log', 'file_copy')
{
	my $copy = "copy_$strategy";

	$primary->safe_psql('postgres', "CREATE DATABASE $copy TEMPLATE copy_source STRATEGY $strategy");
	is(compare($primary, 'items', $dim, $copy), 0, "$copy: full recall");
	is(complete($primary, 'items', $dim, $copy), 't', "$copy: every row once");
	is($primary->safe_psql($copy, "SET hnsw_mmap.ef_search = 400; SELECT hm_test.mismatches('items', 'v', '<#>', $dim)"), 0, "$copy: inner product");
	$primary->safe_psql($copy, "INSERT INTO items SELECT i, hm_test.vec(i, $dim) FROM generate_series(4001, 4100) AS i");
	is(compare($primary, 'items', $dim, $copy), 0, "$copy: full recall after inserts");
	is(compare($primary, 'items', $dim, 'copy_source'), 0, "$copy: the source is unchanged");
	$primary->wait_for_catchup($standby);
	is(compare($standby, 'items', $dim, $copy), 0, "$copy: full recall on the standby");
}

# Promotion flushes nothing: the new primary must find its way at once, and write.
on_both("REINDEX INDEX TABLE_NAME_v");
$primary->wait_for_catchup($standby);
$primary->stop;
$standby->promote;
$promoted = 1;
both_agree('promoted');
foreach my $table ('items_heap', 'items_fp16')
{
	$standby->safe_psql('postgres', "INSERT INTO $table (id, v) SELECT i, hm_test.vec(i, $dim) FROM generate_series(200001, 200200) AS i");
	$standby->safe_psql('postgres', "DELETE FROM $table WHERE id % 5 = 0");
	$standby->safe_psql('postgres', "VACUUM $table");
}
both_agree('written to after promotion');
kill_server($standby);
$standby->start;
both_agree('and after a crash');
ok(!server_crashed($primary), 'the primary never crashed');
$standby->stop;

done_testing();
