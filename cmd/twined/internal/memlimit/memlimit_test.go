package memlimit

import (
	"io/fs"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"
)

func tree(files ...string) fstest.MapFS {
	t := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		t[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return t
}

func TestLimitOfTheCgroup(t *testing.T) {
	const none = "9223372036854771712\n"
	for name, c := range map[string]struct {
		root   fstest.MapFS
		cgroup int64
		set    int64
	}{
		"no cgroups":                {tree(), 0, 0},
		"version 2, unlimited":      {tree("proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/memory.max", "max\n"), 0, 0},
		"version 2, limited":        {tree("proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/memory.max", "1000000000\n"), 1_000_000_000, 900_000_000},
		"version 2, limited above":  {tree("proc/self/cgroup", "0::/a/b/c\n", "sys/fs/cgroup/a/memory.max", "400000000\n", "sys/fs/cgroup/a/b/memory.max", "max\n", "sys/fs/cgroup/a/b/c/memory.max", "500000000\n"), 400_000_000, 360_000_000},
		"version 2, in a container": {tree("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "2000000000"), 2_000_000_000, 1_800_000_000},
		"the host's path":           {tree("proc/self/cgroup", "0::/docker/0123\n", "sys/fs/cgroup/memory.max", "2000000000"), 2_000_000_000, 1_800_000_000},
		"version 1":                 {tree("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000000000\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", none), 1_000_000_000, 900_000_000},
		"version 1, unlimited":      {tree("proc/self/cgroup", "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", none), 0, 0},
		"both":                      {tree("proc/self/cgroup", "4:hugetlb,memory:/a\n0::/b\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "700000000", "sys/fs/cgroup/b/memory.max", "800000000"), 700_000_000, 630_000_000},
		"tiny":                      {tree("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "1000000"), 1_000_000, 32 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			var set int64
			got, err := apply(c.root, func(bytes int64) { set = bytes })
			if err != nil || got != (Limit{Bytes: c.set, Cgroup: c.cgroup}) || set != c.set {
				t.Errorf("%+v, set %d, %v", got, set, err)
			}
		})
	}
}

// unreadable is a file that exists and cannot be read.
type unreadable struct{ fs.FS }

func (u unreadable) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, unifiedFile) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return u.FS.Open(name)
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	for name, root := range map[string]fs.FS{
		"not a number": tree("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "plenty"),
		"no line":      tree("proc/self/cgroup", "gibberish\n"),
		"forbidden":    unreadable{tree("proc/self/cgroup", "0::/\n")},
	} {
		got, err := apply(root, func(int64) { t.Errorf("%s: a limit is set", name) })
		if err == nil || got != (Limit{}) || !strings.Contains(err.Error(), "GOMEMLIMIT") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestGOMEMLIMITIsRespected(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Setenv("GOMEMLIMIT", "123MiB")
	got, err := Apply()
	if err != nil || got != (Limit{Chosen: true}) || debug.SetMemoryLimit(-1) != before {
		t.Errorf("%+v, %v", got, err)
	}
}

// What the machine that runs this test has is not known, but Go's limit is what Apply says, and GOGC as it was.
func TestApply(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(70)
	defer func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	}()
	got, err := Apply()
	if err != nil {
		t.Fatal(err)
	}
	want := limit
	if got.Bytes > 0 {
		want = got.Bytes
	}
	if now := debug.SetMemoryLimit(-1); now != want {
		t.Errorf("%+v, and Go's limit is %d", got, now)
	}
	if now := debug.SetGCPercent(70); now != 70 {
		t.Errorf("GOGC has become %d", now)
	}
}
