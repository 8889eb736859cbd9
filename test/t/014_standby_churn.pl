# Readers on a standby while the primary is under churn and merges, with a crash
# of the standby, then through its promotion and the churn on the new primary
# (scenario 13): never a row missing or too many.  Recovery may cancel them, which
# they take up again.

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

my $seconds = $ENV{HM_CHURN_SECONDS} || 30;

# Most of the time as a standby, the rest on its own.
my $before = int($seconds * 0.7);
my $after = $seconds - $before;

my $primary = new_node('churn_primary', churn_settings(), allows_streaming => 1);
churn_prepare($primary);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('churn_standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# Short, so that the slow readers are in the way of replay now and then.
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 3s\n");
$standby->start;
my ($primary_place, $standby_place) = (log_place($primary), log_place($standby));

# Readers of one session each, as recovery or a crash may end one: then another
# takes its place.  The log tells whether that was why.
my $end = time + $seconds + 5;
my ($reads, $replaced) = (0, 0);
my @readers = map { churn_readers($standby, $seconds + 5, 1) } 1 .. 4;

sub replace_readers
{
	foreach my $reader (@readers)
	{
		$reader->{handle}->pump_nb if $reader->{handle}->pumpable;
		next if $reader->{handle}->pumpable || time > $end - 2;
		finish_background($reader);
		$reads += churn_reads($reader);
		$replaced++;
		$reader = churn_readers($standby, int($end - time), 1);
	}
}

# maintain(NODE, SECONDS): merges, checks and rebuilds, and checks on the standby.
sub maintain
{
	my ($node, $duration) = @_;
	my ($start, $shown, $statements, @errors) = (time, time, 0);

	while (time < $start + $duration)
	{
		my $statement = churn_maintenance();
		my ($rc, $out, $err) = run_sql($node, $statement);

		push @errors, "$statement: $err" if $rc != 0;
		$statements++;
		if ($node == $primary && $statement =~ /check/)
		{
			($rc, $out, $err) = run_sql($standby, $statement);
			push @errors, "$statement on the standby: $err" if $rc != 0 && $err !~ /conflict with recovery/;
		}
		replace_readers();
		if (time > $shown + 30)
		{
			$shown = time;
			note(sprintf('%d s: %d statements', time - $start, $statements));
			note($_) foreach split /\n/, complaints($standby, $standby_place);
		}
		sleep 0.05;
	}
	is(join("\n", @errors), '', "merges, checks and rebuilds: no error ($statements of them)");
}

# ---- As a standby ----

my @writers = (churn_writers($primary, $before), churn_vacuum($primary, $before));
maintain($primary, $before / 2);
kill_server($standby);
$standby->start;
maintain($primary, $before / 2);
foreach my $run (@writers)
{
	ok(finish_background($run), "$run->{name} on the primary: no error") or diag($run->{err});
	note("$run->{name}: " . churn_reads($run) . ' transactions');
}
is(complaints($primary, $primary_place), '', 'nor does the log of the primary have any');
$primary->wait_for_catchup($standby);
is(churn_verify($standby), '', 'caught up: checks are clean, every row once');

# ---- Promoted, under the same readers ----

# Without warning for the primary: what is replayed is what there is.
kill_server($primary);
$standby->promote;
@writers = (churn_writers($standby, $after), churn_vacuum($standby, $after));
maintain($standby, $after);
foreach my $run (@writers)
{
	ok(finish_background($run), "$run->{name} on the new primary: no error") or diag($run->{err});
	note("$run->{name}: " . churn_reads($run) . ' transactions');
}
my @failed = grep { !finish_background($_) && $_->{err} !~ /died while processing/ } @readers;
is(join("\n", map { $_->{err} } @failed), '', 'readers, throughout: no error');
$reads += churn_reads($_) foreach @readers;
note("readers: $reads reads; $replaced sessions ended by recovery or the crash");
cmp_ok($reads, '>', 10, 'they did something');
is(complaints($standby, $standby_place), '', 'nor does the log of the standby have any');
my $findings = churn_findings($standby, $standby_place);
note(join(', ', map { "$findings->{$_} $_" } sort keys %$findings));
is(churn_verify($standby), '', 'promoted: checks are clean, every row once');
kill_server($standby);
$standby->start;
is(churn_verify($standby), '', 'and after a crash');
ok(!server_crashed($standby), 'the server never crashed by itself');
$standby->stop;

done_testing();
