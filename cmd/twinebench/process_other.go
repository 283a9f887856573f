//go:build !linux

package main

import "errors"

func cpuMicros() (int64, error) { return 0, errors.ErrUnsupported }

func residentBytes(int) (int64, error) { return 0, errors.ErrUnsupported }
