package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
)

// acceleration is what a daemon says of payload that goes past TCP, when it was asked for.
type acceleration struct {
	Asked        string   `json:"asked"`
	Mode         string   `json:"mode"`
	Why          string   `json:"why,omitempty"`
	Problem      string   `json:"problem,omitempty"`
	Cgroups      []string `json:"cgroups"`
	Applications []string `json:"applications"`
	Missing      []string `json:"missing_cgroups"`
	Active       uint64   `json:"active"`
	Accelerated  uint64   `json:"accelerated"`
	Bytes        uint64   `json:"bytes"`
}

func (a *acceleration) print(out io.Writer) error {
	verdict := "ok"
	if a.Mode != a.Asked || a.Why != "" || a.Problem != "" {
		verdict = "LESS"
	}
	fmt.Fprintf(out, "\nAcceleration:\n  %s: mode %s is in force, %s was asked for\n", verdict, a.Mode, a.Asked)
	for _, why := range []string{a.Why, a.Problem} {
		if why != "" {
			fmt.Fprintln(out, "    "+why)
		}
	}
	if a.Mode == "OFF" {
		return nil
	}
	list := func(names []string) string { return cmp.Or(strings.Join(names, " "), "none") }
	fmt.Fprintf(out, "  into weir from: %s\n", list(append(a.Cgroups, a.Applications...)))
	fmt.Fprintf(out, "  from weir into: %s\n", list(a.Applications))
	if len(a.Missing) > 0 {
		fmt.Fprintf(out, "  there is no %s\n", strings.Join(a.Missing, " "))
	}
	_, err := fmt.Fprintf(out, "  %d connections now, %d so far, %d bytes past TCP\n", a.Active, a.Accelerated, a.Bytes)
	return err
}
