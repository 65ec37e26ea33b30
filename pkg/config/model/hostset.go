package model

import (
	"cmp"
	"slices"
)

// HostSet is the virtual hosts that VHDS delivered for a route configuration, by domain. It is immutable: With and Without
// return another set that shares what does not differ. A nil set is empty.
type HostSet struct {
	// Exact are virtual hosts by domains without wildcard.
	Exact Set[*VirtualHost]
	// Suffix and Prefix are those by domains with a wildcard at the front or at the end, the longest first.
	Suffix, Prefix []WildcardHosts
	// Any is the virtual host of the domain "*", nil when there is none.
	Any *VirtualHost
}

// WildcardHosts are the virtual hosts of the domains of one kind whose fixed part has Length bytes, by that part.
type WildcardHosts struct {
	Length int
	Hosts  Set[*VirtualHost]
}

// Owner is the virtual host that has a domain; nil when none has.
func (h *HostSet) Owner(domain string) *VirtualHost {
	if h == nil {
		return nil
	}
	kind, fixed := domainKind(domain)
	switch kind {
	case domainAny:
		return h.Any
	case domainExact:
		return h.Exact.Get(fixed)
	case domainSuffix:
		return wildcardOwner(h.Suffix, fixed)
	}
	return wildcardOwner(h.Prefix, fixed)
}

// With returns the set with a virtual host, under domains that no other one has.
func (h *HostSet) With(v *VirtualHost) *HostSet {
	return h.change(v, func(s Set[*VirtualHost], fixed string) Set[*VirtualHost] { return s.With(fixed, v) }, v)
}

// Without returns the set without a virtual host that is in it.
func (h *HostSet) Without(v *VirtualHost) *HostSet {
	return h.change(v, func(s Set[*VirtualHost], fixed string) Set[*VirtualHost] { return s.Without(fixed) }, nil)
}

// change applies f to the sets that hold the domains of v; any is what becomes of the domain "*".
func (h *HostSet) change(v *VirtualHost, f func(s Set[*VirtualHost], fixed string) Set[*VirtualHost], any *VirtualHost) *HostSet {
	next := &HostSet{}
	if h != nil {
		*next = *h
	}
	for _, d := range v.Domains {
		switch kind, fixed := domainKind(d); kind {
		case domainAny:
			next.Any = any
		case domainExact:
			next.Exact = f(next.Exact, fixed)
		case domainSuffix:
			next.Suffix = changeWildcards(next.Suffix, fixed, f)
		case domainPrefix:
			next.Prefix = changeWildcards(next.Prefix, fixed, f)
		}
	}
	return next
}

const (
	domainExact = iota
	domainSuffix
	domainPrefix
	domainAny
)

// domainKind takes the wildcard off a domain.
func domainKind(d string) (kind int, fixed string) {
	switch {
	case d == "*":
		return domainAny, ""
	case d != "" && d[0] == '*':
		return domainSuffix, d[1:]
	case d != "" && d[len(d)-1] == '*':
		return domainPrefix, d[:len(d)-1]
	}
	return domainExact, d
}

func wildcardOwner(list []WildcardHosts, fixed string) *VirtualHost {
	for i := range list {
		if list[i].Length == len(fixed) {
			return list[i].Hosts.Get(fixed)
		}
	}
	return nil
}

// changeWildcards applies f to the set of fixed's length, in a copy of the list.
func changeWildcards(list []WildcardHosts, fixed string, f func(s Set[*VirtualHost], fixed string) Set[*VirtualHost]) []WildcardHosts {
	i, found := slices.BinarySearchFunc(list, len(fixed), func(w WildcardHosts, n int) int { return cmp.Compare(n, w.Length) })
	list = slices.Clone(list)
	if !found {
		list = slices.Insert(list, i, WildcardHosts{Length: len(fixed)})
	}
	if list[i].Hosts = f(list[i].Hosts, fixed); list[i].Hosts.Len() == 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
