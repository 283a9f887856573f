package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ownCPU returns the user and system time that this process has used.
func ownCPU() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// fileLimit raises the limit of open files as far as it goes and returns it.
func fileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	if limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			limit = raised
		}
	}
	return int(min(limit.Cur, 1<<30)), nil
}

// tick is the unit of times in /proc, the same on all systems that Go runs on.
const tick = 10 * time.Millisecond

// usage is what a process or the machine uses.
type usage struct {
	CPU time.Duration
	RSS int64 // bytes
}

// usageOf returns what a process uses.
func usageOf(pid int) (u usage, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name, in parentheses, may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 22 {
		return u, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(string(fields[i]), 10, 64)
		return n
	}
	u.CPU = time.Duration(number(11)+number(12)) * tick
	u.RSS = number(21) * int64(os.Getpagesize())
	return u, nil
}

// machineBusy returns the time that all processors together have worked.
func machineBusy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	var busy int64
	for i, field := range bytes.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal; what follows is part of user
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, _ := strconv.ParseInt(string(field), 10, 64)
		busy += n
	}
	return time.Duration(busy) * tick
}
