package tlsctx

import (
	"crypto/x509"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// matchesSAN tells whether a subject alternative name of the certificate is what the matcher wants.
func matchesSAN(m model.SANMatcher, c *x509.Certificate) bool {
	if m.Kind == model.SANDNS || m.Kind == model.SANAny {
		for _, san := range c.DNSNames {
			if matchesDNS(m.Match, san) {
				return true
			}
		}
	}
	if m.Kind == model.SANEmail || m.Kind == model.SANAny {
		for _, san := range c.EmailAddresses {
			if matches(m.Match, san) {
				return true
			}
		}
	}
	if m.Kind == model.SANURI || m.Kind == model.SANAny {
		for _, san := range c.URIs {
			if matches(m.Match, san.String()) {
				return true
			}
		}
	}
	if m.Kind == model.SANIP || m.Kind == model.SANAny {
		for _, san := range c.IPAddresses {
			if matches(m.Match, san.String()) {
				return true
			}
		}
	}
	return false
}

// matchesDNS is matches, except that an exact name is also matched by a wildcard in the certificate.
func matchesDNS(m model.StringMatcher, san string) bool {
	if m.Kind == model.MatchExact {
		return dnsNameMatch(m.Value, san)
	}
	return matches(m, san)
}

// dnsNameMatch compares a name with a DNS SAN, whose "*" stands for exactly one first label (RFC 6125 section 6.4.3).
func dnsNameMatch(name, san string) bool {
	name, san = strings.ToLower(name), strings.ToLower(san)
	if name == san {
		return true
	}
	suffix, ok := strings.CutPrefix(san, "*.")
	if !ok {
		return false
	}
	_, rest, ok := strings.Cut(name, ".")
	return ok && rest != "" && rest == suffix
}

// matches applies a string matcher.
func matches(m model.StringMatcher, s string) bool {
	if m.Kind == model.MatchRegex {
		loc := m.Regex.FindStringIndex(s)
		return loc != nil && loc[0] == 0 && loc[1] == len(s)
	}
	if m.IgnoreCase {
		s = strings.ToLower(s)
	}
	switch m.Kind {
	case model.MatchPrefix:
		return strings.HasPrefix(s, m.Value)
	case model.MatchSuffix:
		return strings.HasSuffix(s, m.Value)
	case model.MatchContains:
		return strings.Contains(s, m.Value)
	default:
		return s == m.Value
	}
}
