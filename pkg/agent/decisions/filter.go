package decisions

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/events"
)

// Filter says which decisions somebody wants to know of. Of different kinds all have to match, of one kind any.
type Filter struct {
	// wanted is the kernel's part, made by complete of the lists, each of which is empty when it matches everything.
	wanted     events.Wanted
	verdicts   uint32 // bits
	reasons    []string
	directions []string
	protocols  []string
	pids       []uint32
	containers []string // globs of names
	cgroups    []string // patterns, as in cgroup.Match
	places     []place
	// share is what is left of the sample after the kernel's; guarded by Hub.mu.
	share float64
}

// place is a set of destinations.
type place struct {
	prefix netip.Prefix // the zero value is any address
	port   uint16       // 0 is any port
}

// Bounds of a question.
const (
	maxLimit  = 1_000_000
	maxValues = 100
)

// question is what a reader asks for.
type question struct {
	filter *Filter
	// limit ends the answer after so many decisions, 0 never; past begins it with those that were recorded, after which noFollow ends
	// it.
	limit          int
	past, noFollow bool
	text           bool
}

// parseQuestion reads the parameters of a question: direction, protocol, verdict, reason, pid, container, cgroup, dst (each any number of
// times, or with commas), sample (0 to 1), each_datagram, limit, past, no_follow and format. The error names every parameter that is wrong and why.
func parseQuestion(params url.Values) (*question, error) {
	q := &question{filter: &Filter{wanted: events.Wanted{Sample: 1}}}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(params)) {
		for _, values := range params[name] {
			for value := range strings.SplitSeq(values, ",") {
				if err := q.set(name, value); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", name, err))
				}
			}
		}
	}
	if err := q.filter.complete(); err != nil && len(errs) == 0 {
		errs = append(errs, err)
	}
	return q, errors.Join(errs...)
}

func (q *question) set(name, value string) (err error) {
	f := q.filter
	if len(f.reasons)+len(f.directions)+len(f.protocols)+len(f.pids)+len(f.containers)+len(f.cgroups)+len(f.places) > maxValues {
		return fmt.Errorf("there are more than %d values", maxValues)
	}
	switch name {
	case "verdict":
		return f.addVerdict(value)
	case "reason":
		return f.addReason(value)
	case "direction":
		f.directions, err = addOne(f.directions, value, directionNames())
		return err
	case "protocol":
		f.protocols, err = addOne(f.protocols, value, protocolNames())
		return err
	case "dst":
		return f.addPlace(value)
	case "pid":
		n, err := strconv.ParseUint(value, 10, 22)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not a process id", value)
		}
		f.pids = append(f.pids, uint32(n))
	case "container":
		if _, err := path.Match(value, ""); err != nil || value == "" {
			return fmt.Errorf("%q is no name or glob", value)
		}
		f.containers = append(f.containers, value)
	case "cgroup":
		return f.addCgroup(value)
	case "sample":
		return f.setSample(value)
	case "each_datagram":
		f.wanted.EachDatagram = isSet(value)
	case "limit":
		if q.limit, err = strconv.Atoi(value); err != nil || q.limit < 1 || q.limit > maxLimit {
			return fmt.Errorf("%q is not a number from 1 to %d", value, maxLimit)
		}
	case "past":
		q.past = isSet(value)
	case "no_follow":
		q.noFollow = isSet(value)
	case "format":
		if value != "" && value != "json" && value != "text" {
			return fmt.Errorf("%q is neither json nor text", value)
		}
		q.text = value == "text"
	default:
		return errors.New("there is no such parameter")
	}
	return nil
}

// isSet reads a flag, which needs no value.
func isSet(value string) bool { return value != "false" && value != "n" && value != "0" }

var errNothing = errors.New("nothing matches: no decision has that direction, that protocol and that reason")

// complete says what is wanted of the kernel.
func (f *Filter) complete() error {
	for _, k := range kinds() {
		quiet := slices.ContainsFunc(k.quiet, func(name string) bool { return slices.Contains(f.reasons, name) })
		if len(f.directions) > 0 && !slices.Contains(f.directions, k.direction) ||
			len(f.protocols) > 0 && !slices.Contains(f.protocols, k.protocol) && !quiet {
			continue
		}
		of := events.Want{Verdicts: f.verdicts}
		if of.Verdicts == 0 {
			of.Verdicts = math.MaxUint32
		}
		for code, name := range k.reasons {
			if slices.Contains(f.reasons, name) || len(f.reasons) == 0 && !slices.Contains(k.quiet, name) {
				of.Reasons |= 1 << code
			}
		}
		if of.Reasons != 0 {
			f.wanted.Of[k.kind] = of
		}
	}
	if f.wanted.Of == [events.Kinds]events.Want{} {
		return errNothing
	}
	return nil
}

func (f *Filter) addVerdict(value string) error {
	n := slices.Index(events.Verdicts(), value)
	if n < 0 {
		return fmt.Errorf("%q is none of %s", value, strings.Join(events.Verdicts(), ", "))
	}
	f.verdicts |= 1 << n
	return nil
}

func (f *Filter) addReason(value string) (err error) {
	f.reasons, err = addOne(f.reasons, value, reasonNames())
	return err
}

// addOne adds to a list what must be one of the names.
func addOne(list []string, value string, names []string) ([]string, error) {
	if !slices.Contains(names, value) {
		return list, fmt.Errorf("%q is none of %s", value, strings.Join(names, ", "))
	}
	return append(list, value), nil
}

func (f *Filter) addCgroup(value string) error {
	for element := range strings.SplitSeq(value, "/") {
		if _, err := path.Match(element, ""); err != nil {
			return fmt.Errorf("%q is no glob: %w", value, err)
		}
	}
	f.cgroups = append(f.cgroups, value)
	return nil
}

func (f *Filter) setSample(value string) error {
	share, err := strconv.ParseFloat(value, 64)
	if err != nil || !(share > 0 && share <= 1) {
		return fmt.Errorf("%q is not above 0 and at most 1", value)
	}
	f.wanted.Sample = share
	return nil
}

// addPlace takes an address, a prefix, ADDRESS:PORT, or :PORT.
func (f *Filter) addPlace(value string) error {
	if addr, err := netip.ParseAddr(value); err == nil {
		addr = addr.Unmap()
		f.places = append(f.places, place{prefix: netip.PrefixFrom(addr, addr.BitLen())})
		return nil
	}
	if prefix, err := netip.ParsePrefix(value); err == nil {
		f.places = append(f.places, place{prefix: prefix.Masked()})
		return nil
	}
	if at, err := netip.ParseAddrPort(value); err == nil {
		addr := at.Addr().Unmap()
		f.places = append(f.places, place{netip.PrefixFrom(addr, addr.BitLen()), at.Port()})
		return nil
	}
	if text, ok := strings.CutPrefix(value, ":"); ok {
		if port, err := strconv.ParseUint(text, 10, 16); err == nil && port > 0 {
			f.places = append(f.places, place{port: uint16(port)})
			return nil
		}
	}
	return fmt.Errorf("%q is neither an address, a prefix, ADDRESS:PORT nor :PORT", value)
}

// filterOf is that of a configuration, which has been checked.
func filterOf(e *model.Events) (*Filter, error) {
	f := &Filter{wanted: events.Wanted{Sample: e.Sample}, cgroups: e.Cgroups}
	var (
		errs []error
		err  error
	)
	for _, d := range e.Directions {
		f.directions, err = addOne(f.directions, d, directionNames())
		errs = append(errs, err)
	}
	for _, p := range e.Protocols {
		f.protocols, err = addOne(f.protocols, p, protocolNames())
		errs = append(errs, err)
	}
	for _, v := range e.Verdicts {
		errs = append(errs, f.addVerdict(v))
	}
	for _, r := range e.Reasons {
		errs = append(errs, f.addReason(r))
	}
	for _, d := range e.Destinations {
		f.places = append(f.places, place{prefix: d})
	}
	errs = append(errs, f.complete())
	return f, errors.Join(errs...)
}

// takes tells whether the kernel's part matches; another reader may have wanted it.
func (f *Filter) takes(k *events.Event) bool {
	of := &f.wanted.Of[k.Kind]
	if of.Verdicts&(1<<k.Verdict) == 0 || of.Reasons&(1<<k.Code) == 0 || k.Again && !f.wanted.EachDatagram {
		return false
	}
	if len(f.pids) > 0 && !k.Inbound && !slices.Contains(f.pids, k.PID) {
		return false
	}
	if len(f.protocols) > 0 && !slices.Contains(f.protocols, protocolName(k.Protocol)) {
		return false
	}
	return len(f.places) == 0 || slices.ContainsFunc(f.places, func(p place) bool {
		return (p.port == 0 || p.port == k.Dst.Port()) && (!p.prefix.IsValid() || p.prefix.Contains(k.Dst.Addr()))
	})
}

// matches tells whether what had to be found out matches.
func (f *Filter) matches(e *Event) bool {
	if len(f.pids) > 0 && !slices.Contains(f.pids, e.PID) {
		return false
	}
	if len(f.containers) > 0 && !slices.ContainsFunc(f.containers, func(glob string) bool {
		ok, err := path.Match(glob, e.Container)
		return err == nil && (ok || strings.HasPrefix(e.Container, glob))
	}) {
		return false
	}
	return len(f.cgroups) == 0 || slices.ContainsFunc(f.cgroups, func(p string) bool { return cgroup.Match(p, e.Cgroup) })
}
