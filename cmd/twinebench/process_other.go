//go:build !linux

package main

import (
	"errors"
	"time"
)

func cpuMicros() (int64, error) { return 0, errors.ErrUnsupported }

func cpuMicrosOf(int) (int64, error) { return 0, errors.ErrUnsupported }

func cpuTimes() (busy, ours time.Duration, err error) { return 0, 0, errors.ErrUnsupported }

func residentBytes(int) (int64, error) { return 0, errors.ErrUnsupported }

type memory struct{ resident, own int64 }

func memoryOf(int) (memory, error) { return memory{}, errors.ErrUnsupported }
