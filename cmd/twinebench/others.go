package main

import "time"

// cpuClock tells how much of the machine other processes use while something is measured: CPU times of ours then still
// compare, what was achieved in a second does not.
type cpuClock struct {
	at   time.Time
	busy time.Duration // all CPUs, all processes
	ours time.Duration // this process and those it started, once they have ended
}

func readCPUClock() (cpuClock, error) {
	busy, ours, err := cpuTimes()
	return cpuClock{time.Now(), busy, ours}, err
}

// othersSince returns how many CPUs other processes have used in the mean since then.
func (now cpuClock) othersSince(then cpuClock) float64 {
	return max(0, (now.busy-then.busy-(now.ours-then.ours)).Seconds()/now.at.Sub(then.at).Seconds())
}

// withOthers runs f and returns how many CPUs other processes have used meanwhile.
func withOthers(f func() error) (others float64, err error) {
	before, err := readCPUClock()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := readCPUClock()
	return after.othersSince(before), err
}
