package main

import (
	"fmt"
	"os"

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

// residentBytes returns the resident set size of a process.
func residentBytes(pid int) (int64, error) {
	var size, resident int64
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0, fmt.Errorf("statm %q: %w", b, err)
	}
	return resident * int64(os.Getpagesize()), nil
}
