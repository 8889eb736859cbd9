
=pod

=head1 NAME

HmWorn - indexes that have been in use, for TAP tests

=head1 DESCRIPTION

Whatever is done to a server should be done to an index that has seen something:
several parts with replaced lists, a log, tombstones, and space that is retired
and not used again yet.  C<wear> makes such an index, C<sound> says what is wrong
with one, and C<goes_on> that it can be written to, vacuumed and merged further.

The table has columns (id, n, v), as C<fill> makes it; its index is TABLE_v, by
Euclidean distance.

=cut

package HmWorn;

use strict;
use warnings;

use Exporter 'import';
use HmTest;
use Test::More;

our @EXPORT = qw(prepare_worn wear live is_worn verdict_of sound goes_on);

# In the databases, so that servers and databases that are copies have them too.
my $functions = <<'SQL';
CREATE SCHEMA hm_worn;
CREATE SEQUENCE hm_worn.ids START 100000;

-- N rows come, one in ten with the vector of row 1 and one without any; a tenth
-- as many change their vectors, as many another column, and as many go.
CREATE FUNCTION hm_worn.live(relation regclass, dim int, n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    chosen text := format('id IN (SELECT id FROM %s ORDER BY hashint8extended(id, %s) LIMIT %s)', relation, '%s', n / 10);
BEGIN
    EXECUTE format('INSERT INTO %s (id, v)
        SELECT id, CASE WHEN i %% 10 = 1 THEN hm_test.vec(1, %s) WHEN i <> 5 THEN hm_test.vec(id, %s) END
          FROM (SELECT i, nextval(''hm_worn.ids'') AS id FROM generate_series(1, %s) AS i) AS s', relation, dim, dim, n);
    EXECUTE format('UPDATE %s SET v = hm_test.vec(-nextval(''hm_worn.ids''), %s) WHERE ' || chosen, relation, dim, nextval('hm_worn.ids'));
    EXECUTE format('UPDATE %s SET n = n + 1 WHERE ' || chosen, relation, nextval('hm_worn.ids'));
    EXECUTE format('DELETE FROM %s WHERE ' || chosen, relation, nextval('hm_worn.ids'));
END
$$;
SQL

sub prepare_worn
{
	my ($node, $database) = @_;

	$node->safe_psql($database // 'postgres', $functions);
}

# live(TABLE, DIM, N): the statement by which rows come, change and go.
sub live
{
	my ($table, $dim, $n) = @_;

	return "SELECT hm_worn.live('$table', $dim, $n);\n";
}

# wear(NODE, TABLE, DIM, [DATABASE]): a merge that replaces everything, two whose
# parts stay, and then some dead rows.  (VACUUM leaves an index alone
# for so few, if not told to.)
sub wear
{
	my ($node, $table, $dim, $database) = @_;

	foreach my $merge ([ 200, 'true' ], [ 60, 'false' ], [ 20, 'false' ])
	{
		my ($n, $full) = @$merge;

		$node->safe_psql($database // 'postgres',
			live($table, $dim, $n) . "VACUUM (INDEX_CLEANUP ON) $table; SELECT hnsw_mmap_merge('${table}_v', full => $full)");
	}
	$node->safe_psql($database // 'postgres', live($table, $dim, 40) . "VACUUM (INDEX_CLEANUP ON) $table");
	is_worn($node, $table, $database);
}

# is_worn(NODE, TABLE, [DATABASE]): tests that all that wear promises is there.
sub is_worn
{
	my ($node, $table, $database) = @_;

	is( $node->safe_psql($database // 'postgres',
			"SELECT parts > 2, patches > 0, log_live > 0, dead_rows > 0, blocks_retired > 0 FROM hnsw_mmap_check('${table}_v')"),
		't|t|t|t|t', ($database // $node->name) . ": $table has parts, patches, a log, tombstones and retired space");
}

# verdict_of(TABLE, DIM): the query that says 'sound', or what is wrong.
sub verdict_of
{
	my ($table, $dim) = @_;

	return "SELECT hm_test.verdict('$table', '${table}_v', '<->', $dim, false);\n";
}

# sound(NODE, TABLE, DIM, [DATABASE]): 'sound', or what is wrong with the index.
sub sound
{
	my ($node, $table, $dim, $database) = @_;
	my ($rc, $out, $err) = run_sql($node, verdict_of($table, $dim), $database);

	return $rc == 0 ? $out : "error: $err";
}

# goes_on(WHAT, NODE, TABLE, DIM, [DATABASE]): two tests, that the index is sound
# after writes and a merge, and after VACUUM and a full merge.
sub goes_on
{
	my ($what, $node, $table, $dim, $database) = @_;

	foreach my $merge ("SELECT log_entries FROM hnsw_mmap_merge('${table}_v')", "VACUUM (INDEX_CLEANUP ON) $table; SELECT hnsw_mmap_merge('${table}_v', true)")
	{
		my ($rc, $out, $err) = run_sql($node, live($table, $dim, 40) . $merge, $database);

		is($rc == 0 ? sound($node, $table, $dim, $database) : "error: $err", 'sound',
			"$what: $table, merged" . ($merge =~ /VACUUM/ ? ' into one part' : ''));
	}
	my ($rc, $out, $err) = run_sql($node, "SELECT parts, log_entries FROM hnsw_mmap_check('${table}_v')", $database);
	is($rc == 0 ? $out : $err, '1|0', "$what: $table, all of it is in one part");
}

1;
