//go:build !linux

package main

import (
	"errors"
	"time"
)

type usage struct {
	CPU time.Duration
	RSS int64
}

func ownCPU() time.Duration      { return 0 }
func fileLimit() (int, error)    { return 0, errors.ErrUnsupported }
func usageOf(int) (usage, error) { return usage{}, errors.ErrUnsupported }
func machineBusy() time.Duration { return 0 }
