package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuMicros returns the user and system time that this process has used, in microseconds.
func cpuMicros() (int64, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return (usage.Utime.Nano() + usage.Stime.Nano()) / 1000, nil
}

// cpuMicrosOf is cpuMicros of another process, rounded to 10 ms.
func cpuMicrosOf(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name, in parentheses. User and system time are the 14th and the 15th.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat %q", b)
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, fmt.Errorf("stat %q: %w", b, err)
	}
	return (user + system) * tick.Microseconds(), nil
}

// cpuTimes returns the user and system time that all processes have used, and of that what this one and its children have
// that have ended.
func cpuTimes() (busy, ours time.Duration, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	var user, nice, system int64
	if _, err := fmt.Sscanf(string(b), "cpu %d %d %d", &user, &nice, &system); err != nil {
		return 0, 0, fmt.Errorf("/proc/stat: %w", err)
	}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var usage unix.Rusage
		if err := unix.Getrusage(who, &usage); err != nil {
			return 0, 0, fmt.Errorf("getrusage: %w", err)
		}
		ours += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return time.Duration(user+nice+system) * tick, ours, nil
}

// tick is the unit of CPU times in Linux's interface to programs, whatever the kernel's own is.
const tick = 10 * time.Millisecond

// residentBytes returns the resident set size of a process.
func residentBytes(pid int) (int64, error) {
	m, err := memoryOf(pid)
	return m.resident, err
}

// memory is what a process occupies, in bytes.
type memory struct {
	resident int64
	own      int64 // without the pages of files, which the system takes back when it needs them
}

func memoryOf(pid int) (m memory, err error) {
	var size, resident, shared int64
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return m, err
	}
	if _, err := fmt.Sscan(string(b), &size, &resident, &shared); err != nil {
		return m, fmt.Errorf("statm %q: %w", b, err)
	}
	page := int64(os.Getpagesize())
	return memory{resident * page, (resident - shared) * page}, nil
}
