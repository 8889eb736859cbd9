# Writers, readers, VACUUM, merges and rebuilds at the same time (scenarios 8
# and 10): no error; in any snapshot the index, asked for all rows, returns
# exactly the rows of a sequential scan; a check is clean; and what has been
# merged for so long finds as much as a fresh build.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HmChurn;
use HmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{HM_CHURN_SECONDS} || 40;
my $node = new_node('churn', churn_settings());

churn_prepare($node);
my $place = log_place($node);

# ---- Churn ----

my @runs = (churn_writers($node, $seconds), churn_readers($node, $seconds), churn_vacuum($node, $seconds));
my ($start, $shown, $statements, @errors, %work) = (time, time, 0);
while (time < $start + $seconds)
{
	my $statement = churn_maintenance();
	my ($rc, $out, $err) = run_sql($node, $statement);

	push @errors, "$statement: $err" if $rc != 0;
	$statements++;
	if ($rc == 0 && $statement =~ /_merge/)
	{
		my @figures = split /\|/, $out;
		$work{ (qw(log_entries inserted duplicates dropped repaired linked parts_folded blocks_written distances))[$_] } += $figures[$_]
		  foreach 0 .. $#figures;
	}
	if (time > $shown + 30)
	{
		$shown = time;
		note(sprintf('%d s: %s', time - $start, join(', ', map {
						"$_ " . $node->safe_psql('postgres', "SELECT format('%s rows, %s merges, %s kB', rows, merges, bytes_total / 1024) FROM hnsw_mmap_stats('$_')")
					} churn_indexes())));
		note($_) foreach split /\n/, complaints($node, $place);
	}
	sleep 0.05;
}
foreach my $run (@runs)
{
	ok(finish_background($run), "$run->{name}: no error") or diag($run->{err});
	note("$run->{name}: " . churn_reads($run) . ' transactions');
	cmp_ok(churn_reads($run), '>', 10, "$run->{name}: they did something");
}
is(join("\n", @errors), '', "merges, checks and rebuilds: no error ($statements of them)");
is(complaints($node, $place), '', 'nor does the log have any');

note('merged by this session: ' . join(', ', map { "$work{$_} $_" } sort keys %work));
cmp_ok($work{$_}, '>', 0, "merges had some $_") foreach qw(inserted duplicates dropped repaired parts_folded);

my $reads = churn_reads($runs[1]);
my $findings = churn_findings($node, $place);
note("of $reads reads " . join(', ', map { "$findings->{$_} $_" } sort keys %$findings));
cmp_ok($findings->{unused}, '<', $reads / 2, 'most readers could use the index');
cmp_ok($findings->{late_rows}, '<=', 0.2 * $reads, 'hardly a row came late');
cmp_ok($findings->{missed_rows}, '<=', 0.01 * 10 * $reads, 'at a large ef_search hardly any of the nearest is missed');

# ---- Afterwards ----

sub agree
{
	my ($what) = @_;

	is(churn_verify($node), '', "$what: checks are clean, every row once");
}

sub recall
{
	my ($what) = @_;
	my %recall = churn_recall($node);

	note("$what: recall " . join(', ', map { sprintf('%s %.4f', $_, $recall{$_}) } sort keys %recall));
	return %recall;
}

sub sizes { return map { $_ => $node->safe_psql('postgres', "SELECT pg_relation_size('$_')") } churn_indexes(); }

agree('afterwards');
my %churned = recall('afterwards');
my %size = sizes();
$node->safe_psql('postgres', "VACUUM $_") foreach churn_tables();
$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('$_')") foreach churn_indexes();
agree('vacuumed and merged');
my %merged = recall('vacuumed and merged');
$node->safe_psql('postgres', "SELECT hnsw_mmap_merge('$_', full => true)") foreach churn_indexes();
agree('merged into one part');
my %full = recall('merged into one part');
$node->safe_psql('postgres', "REINDEX INDEX $_") foreach churn_indexes();
agree('built anew');
my %fresh = recall('built anew');
my %fresh_size = sizes();
foreach my $index (sort keys %fresh)
{
	cmp_ok($churned{$index}, '>=', $fresh{$index} - 0.01, "$index: recall within a point of a fresh build");
	cmp_ok($merged{$index}, '>=', $fresh{$index} - 0.01, "$index: and with all of it merged");
	cmp_ok($full{$index}, '>=', $fresh{$index} - 0.01, "$index: and in one part");
	# Old parts wait for the slow readers, and each merge replaces one.
	cmp_ok($size{$index}, '<=', 30 * $fresh_size{$index}, "$index: space is used again ($size{$index} bytes, anew $fresh_size{$index})");
}

# One row changed a thousand times, not its vector: the index grows by little.
# (The log grows by 128 kB at a time.)
my $id = $node->safe_psql('postgres', 'SELECT min(id) FROM hm_churn.a WHERE v IS NOT NULL');
my $size = $node->safe_psql('postgres', "SELECT pg_relation_size('hm_churn.heap_l2')");
$node->safe_psql('postgres', <<SQL);
SET hnsw_mmap.background_merge = off;
DO \$\$ BEGIN FOR i IN 1..1000 LOOP UPDATE hm_churn.a SET n = i WHERE id = $id; END LOOP; END \$\$;
VACUUM hm_churn.a;
SQL
my $grown = $node->safe_psql('postgres', "SELECT pg_relation_size('hm_churn.heap_l2')") - $size;
cmp_ok($grown, '<=', 2 * 131072, "a row changed a thousand times costs the index little ($grown bytes)");
ok(!server_crashed($node), 'the server never crashed');
$node->stop;

done_testing();
