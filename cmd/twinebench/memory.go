package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
)

// writeMemory writes a heap profile to file. It does not show goroutine stacks, which are most of an idle connection,
// so file.txt gets the runtime's own account of its memory.
func writeMemory(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	runtime.GC() // the profile is of the last collection
	if err := errors.Join(pprof.WriteHeapProfile(f), f.Close()); err != nil {
		return err
	}
	var samples []metrics.Sample
	for _, d := range metrics.All() {
		if strings.HasPrefix(d.Name, "/memory/classes/") && d.Kind == metrics.KindUint64 {
			samples = append(samples, metrics.Sample{Name: d.Name})
		}
	}
	samples = append(samples, metrics.Sample{Name: "/sched/goroutines:goroutines"})
	metrics.Read(samples)
	var b strings.Builder
	for _, s := range samples {
		fmt.Fprintf(&b, "%12d %s\n", s.Value.Uint64(), s.Name)
	}
	return os.WriteFile(file+".txt", []byte(b.String()), 0o644)
}
