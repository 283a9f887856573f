package memlimit

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Where distributions and container runtimes mount the file systems of cgroups.
const (
	unifiedMount = "sys/fs/cgroup"        // version 2
	memoryMount  = "sys/fs/cgroup/memory" // version 1
	unifiedFile  = "memory.max"
	memoryFile   = "memory.limit_in_bytes"
)

// unlimited is what version 1 says where there is no limit: about the greatest number, whatever the size of a page.
const unlimited = 1 << 62

// cgroupLimit returns the least limit, in bytes, of the process's cgroup and those above it; 0 if there is none. A system
// without cgroups has none.
func cgroupLimit(root fs.FS) (int64, error) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var limit int64
	for line := range strings.Lines(string(text)) {
		// hierarchy:controllers:path; version 2 is hierarchy 0, without controllers.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			return 0, fmt.Errorf("/proc/self/cgroup: %q is not understood", line)
		}
		var found int64
		switch {
		case parts[0] == "0" && parts[1] == "":
			found, err = leastAbove(root, unifiedMount, parts[2], unifiedFile)
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			found, err = leastAbove(root, memoryMount, parts[2], memoryFile)
		}
		if err != nil {
			return 0, err
		}
		limit = lesser(limit, found)
	}
	return limit, nil
}

// leastAbove reads a file in a cgroup and all above it. In a container the path may be the host's, which is not to be
// seen there, while the container's own cgroup is at the mount.
func leastAbove(root fs.FS, mount, cgroup, file string) (limit int64, err error) {
	for dir := path.Clean("/" + cgroup); ; dir = path.Dir(dir) {
		name := path.Join(mount, dir, file)
		text, err := fs.ReadFile(root, name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // the root of the whole tree has no limit
		case err != nil:
			return 0, err
		default:
			found, err := parse(string(text))
			if err != nil {
				return 0, fmt.Errorf("/%s: %w", name, err)
			}
			limit = lesser(limit, found)
		}
		if dir == "/" {
			return limit, nil
		}
	}
}

// parse returns 0 where there is no limit.
func parse(text string) (int64, error) {
	text = strings.TrimSpace(text)
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a limit", text)
	}
	if n >= unlimited {
		return 0, nil
	}
	return int64(n), nil
}

// lesser returns the lesser limit, where 0 is none.
func lesser(a, b int64) int64 {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
