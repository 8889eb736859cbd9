# pg_upgrade from an older major version: indexes come over as they are, byte by
# byte, and go on from there (scenario 16).
#
# HM_OLD_PG_CONFIG names the pg_config of the older installation, which must have
# the extension; script/test makes a private copy of it that does.

use strict;
use warnings;

use Digest::SHA;
use File::Basename;
use FindBin;
use lib $FindBin::RealBin;
use HmTest;
use HmWorn;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pg_config = $ENV{HM_OLD_PG_CONFIG};

plan skip_all => 'HM_OLD_PG_CONFIG names no older PostgreSQL' unless $pg_config;

my $dim = 16;
my $old = PostgreSQL::Test::Cluster->new('old', install_path => dirname(dirname($pg_config)));
my $new = PostgreSQL::Test::Cluster->new('new');
my @init = ('--locale=C', '--encoding=UTF8', '--data-checksums');
my $settings = "autovacuum = off\njit = off\nlog_error_verbosity = verbose\n";

plan skip_all => 'HM_OLD_PG_CONFIG names no older version' if $old->pg_version >= $new->pg_version;
note('from ' . $old->pg_version . ' to ' . $new->pg_version);

$old->init(extra => \@init);
$old->append_conf('postgresql.conf', $settings);
$old->start;
prepare_database($old, 'postgres');
prepare_worn($old);
fill($old, 'items', $dim, 1, 3000);
fill($old, 'copies', $dim, 1, 1000);
$old->safe_psql('postgres', <<SQL);
CREATE INDEX items_v ON items USING hnsw_mmap (v);
CREATE INDEX copies_v ON copies USING hnsw_mmap (v) WITH (vectors = 'fp16', m = 8);
CREATE TABLE halves (id int, v float2[]);
INSERT INTO halves SELECT i, hm_test.vec(i, $dim)::float2[] FROM generate_series(1, 1000) AS i;
CREATE INDEX halves_v ON halves USING hnsw_mmap (v float2_cosine_ops);
CREATE UNLOGGED TABLE fleeting AS SELECT * FROM copies;
CREATE INDEX fleeting_v ON fleeting USING hnsw_mmap (v real_cosine_ops);
SQL
wear($old, $_, $dim) foreach 'items', 'copies';

my @indexes = qw(items_v copies_v halves_v fleeting_v);
my %nearest = (
	items => "SELECT id FROM items ORDER BY v <-> hm_test.vec(7777, $dim) LIMIT 10",
	copies => "SELECT id FROM copies ORDER BY v <-> hm_test.vec(7777, $dim) LIMIT 10",
	halves => "SELECT id FROM halves ORDER BY v <=> hm_test.vec(7777, $dim)::float2[] LIMIT 10",
	fleeting => "SELECT id FROM fleeting ORDER BY v <=> hm_test.vec(7777, $dim) LIMIT 10");

# nearest(NODE, TABLE): ids that the index finds.
sub nearest
{
	my ($node, $table) = @_;

	return $node->safe_psql('postgres', "SET enable_seqscan = off; SET enable_sort = off; $nearest{$table}");
}

my %answer = map { $_ => nearest($old, $_) } keys %nearest;
my %path = map { $_ => index_path($old, $_) } @indexes;

$old->stop;
my %digest = map { $_ => Digest::SHA->new(256)->addfile($path{$_})->hexdigest } @indexes;

# ---- over ----

$new->init(extra => \@init);
$new->append_conf('postgresql.conf', $settings);
chdir $new->basedir or die $!;
command_ok(
	[ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', dirname($pg_config), '-B', $new->config_data('--bindir'),
		'-s', $new->host, '-p', $old->port, '-P', $new->port, '-U', scalar(getpwuid($<)) ],
	'pg_upgrade');
$new->start;

foreach my $index (@indexes)
{
	is(Digest::SHA->new(256)->addfile(index_path($new, $index))->hexdigest, $digest{$index}, "$index: the same bytes");
	is($new->safe_psql('postgres', "SELECT count(*) FROM hnsw_mmap_check('$index', true)"), '1', "$index: sound");
}
is(nearest($new, $_), $answer{$_}, "$_: the same answer") foreach sort keys %answer;
foreach my $table ('items', 'copies')
{
	is_worn($new, $table);
	is(sound($new, $table, $dim), 'sound', "$table: answers are those of sequential scans");
	goes_on('upgraded', $new, $table, $dim);
}

# New indexes and old ones live together; REINDEX makes old ones new.
$new->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY copies_v; ANALYZE');
is(sound($new, 'copies', $dim), 'sound', 'copies: reindexed');
ok(!server_crashed($new), 'the server never crashed');
$new->stop;

done_testing();
