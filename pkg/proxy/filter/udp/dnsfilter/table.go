package dnsfilter

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// defaultTTL is that of names which are in no domain (Envoy docs, answer_ttl).
const defaultTTL uint32 = 300

// suffixLabels is how many labels at the end of a name say whether the table is asked for it, as in Envoy.
const suffixLabels = 2

// domain is what is known of a name.
type domain struct {
	ttl       uint32 // s
	addresses []netip.Addr
	cluster   string
}

// service is what is known of a name that is asked for by SRV.
type service struct {
	ttl     uint32 // s
	targets []model.DNSTarget
}

// table has the configured names, without dots at their ends. A wildcard is there without its asterisk, with the dot in front.
type table struct {
	domains  map[string]*domain
	services map[string]*service
	suffixes map[string]struct{}
}

// newTable turns the addresses of each domain by a random distance, so that not every process gives the same one first.
func newTable(cfg *model.DNSFilter, random func(int) int) *table {
	t := &table{domains: map[string]*domain{}, services: map[string]*service{}, suffixes: map[string]struct{}{}}
	key := func(name string) string {
		if cfg.CaseInsensitive {
			return strings.ToLower(name)
		}
		return name
	}
	for i := range cfg.Domains {
		d := &cfg.Domains[i]
		name := strings.TrimPrefix(key(d.Name), "*")
		t.suffixes[string(suffix([]byte(strings.TrimPrefix(name, "."))))] = struct{}{}
		for j := range d.Services {
			s := &d.Services[j]
			if at := key(s.Name); t.services[at] == nil {
				t.services[at] = &service{ttl: seconds(s.TTL), targets: s.Targets}
			}
		}
		if d.Cluster == "" && len(d.Addresses) == 0 {
			continue
		}
		known := t.domains[name]
		if known == nil {
			known = &domain{ttl: seconds(d.TTL), cluster: d.Cluster}
			t.domains[name] = known
		}
		if n := len(d.Addresses); n > 0 {
			first := random(n)
			known.addresses = append(append(known.addresses, d.Addresses[first:]...), d.Addresses[:first]...)
		}
	}
	return t
}

func seconds(d time.Duration) uint32 { return uint32(min(d/time.Second, 1<<31-1)) } // RFC 2181 section 8

// suffix is the end of a name.
func suffix(name []byte) []byte {
	rest := name
	for range suffixLabels {
		dot := bytes.LastIndexByte(rest, '.')
		if dot < 0 {
			return name
		}
		rest = rest[:dot]
	}
	return name[len(rest)+1:]
}

// covers tells whether a name ends like one of the table.
func (t *table) covers(name []byte) bool {
	if _, ok := t.suffixes[string(suffix(name))]; ok {
		return true
	}
	return t.find(name) != nil || t.services[string(name)] != nil
}

// find is the domain of a name, the most specific wildcard when it has none of its own; nil when there is none.
func (t *table) find(name []byte) *domain {
	if d := t.domains[string(name)]; d != nil {
		return d
	}
	for rest := name; ; {
		dot := bytes.IndexByte(rest, '.')
		if dot < 0 {
			return nil
		}
		if d := t.domains[string(rest[dot:])]; d != nil {
			return d
		}
		rest = rest[dot+1:]
	}
}
