package main

import "time"

// load is how busy a process of this tool is, so that a tool that has become the bottleneck is seen.
type load struct {
	CPU    time.Duration `json:"cpu"`     // since its start
	LagMax time.Duration `json:"lag_max"` // the latest that its loop has been since the last report
}

// lagInterval is how often a loop looks how late it is.
const lagInterval = 50 * time.Millisecond
