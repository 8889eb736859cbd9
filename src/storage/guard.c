/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  SIGBUS in a mapped file becomes a return value.
 *
 * The handler is installed once, with SA_NODEFER: PG_TRY and sigsetjmp(…, 0)
 * do not restore the signal mask, so without it a second fault would find
 * SIGBUS blocked and kill the process.  sigsetjmp without the mask costs a few
 * nanoseconds, with it a system call, and this runs once per batch.
 *
 * The table of ranges is read by the handler and changed outside of guarded
 * calls only, by the same single thread: no locking is needed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>
#include <signal.h>

#include "storage/guard.h"
#include "utils/memutils.h"

typedef struct GuardRange
{
	const char *start;
	size_t		size;
} GuardRange;

static GuardRange *ranges;
static int	range_count;
static int	range_space;

static sigjmp_buf jump_buffer;
static volatile sig_atomic_t armed;
static const void *volatile fault_address;
static bool installed;
static struct sigaction previous;

static bool
is_ours(const void *address)
{
	const char *where = address;

	for (int i = 0; i < range_count; i++)
	{
		if (where >= ranges[i].start &&
			(size_t) (where - ranges[i].start) < ranges[i].size)
			return true;
	}
	return false;
}

static void
handle_sigbus(int signo, siginfo_t *info, void *context)
{
	if (armed && is_ours(info->si_addr))
	{
		armed = 0;
		fault_address = info->si_addr;
		siglongjmp(jump_buffer, 1);
	}

	/*
	 * Not ours.  Put back what was there and return: the faulting instruction
	 * runs again and meets it.
	 */
	sigaction(SIGBUS, &previous, NULL);
}

static void
install_handler(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = handle_sigbus;
	action.sa_flags = SA_SIGINFO | SA_NODEFER;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, &previous) != 0)
		elog(ERROR, "could not install a SIGBUS handler: %m");
	installed = true;
}

bool
hm_guarded_call(void (*function) (void *argument), void *argument)
{
	if (sigsetjmp(jump_buffer, 0) != 0)
		return false;
	armed = 1;
	function(argument);
	armed = 0;
	return true;
}

const void *
hm_guard_fault_address(void)
{
	return fault_address;
}

void
hm_guard_add_range(const void *start, size_t size)
{
	if (!installed)
		install_handler();

	if (range_count == range_space)
	{
		int			space = range_space == 0 ? 16 : range_space * 2;

		if (ranges == NULL)
			ranges = MemoryContextAlloc(TopMemoryContext, space * sizeof(GuardRange));
		else
			ranges = repalloc(ranges, space * sizeof(GuardRange));
		range_space = space;
	}
	ranges[range_count].start = start;
	ranges[range_count].size = size;
	range_count++;
}

void
hm_guard_remove_range(const void *start)
{
	for (int i = 0; i < range_count; i++)
	{
		if (ranges[i].start == start)
		{
			ranges[i] = ranges[--range_count];
			return;
		}
	}
}
