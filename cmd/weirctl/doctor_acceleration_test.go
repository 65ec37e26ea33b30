package main

import (
	"strings"
	"testing"
)

func TestDoctorPrintsAcceleration(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   acceleration
		want string
	}{
		{
			"full",
			acceleration{Asked: "FULL", Mode: "FULL", Cgroups: []string{"/a"}, Applications: []string{"/b"}, Missing: []string{"/c"}, Active: 1, Accelerated: 2, Bytes: 3},
			"\nAcceleration:\n  ok: mode FULL is in force, FULL was asked for\n  into weir from: /a /b\n  from weir into: /b\n  there is no /c\n" +
				"  1 connections now, 2 so far, 3 bytes past TCP\n",
		},
		{
			"less",
			acceleration{Asked: "FULL", Mode: "RECEIVE", Why: "FULL: old", Problem: "p"},
			"\nAcceleration:\n  LESS: mode RECEIVE is in force, FULL was asked for\n    FULL: old\n    p\n  into weir from: none\n  from weir into: none\n" +
				"  0 connections now, 0 so far, 0 bytes past TCP\n",
		},
		{
			"off",
			acceleration{Asked: "RECEIVE", Mode: "OFF", Why: "RECEIVE: old"},
			"\nAcceleration:\n  LESS: mode OFF is in force, RECEIVE was asked for\n    RECEIVE: old\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := tt.in.print(&out); err != nil || out.String() != tt.want {
				t.Errorf("printed (%v)\n%s\nwant\n%s", err, out.String(), tt.want)
			}
		})
	}
}
