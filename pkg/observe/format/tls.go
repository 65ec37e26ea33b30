package format

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"strings"
)

func tlsOperators() map[string]operator {
	ops := map[string]operator{
		"DOWNSTREAM_LOCAL_IP_SAN":  own(appendIPs),
		"DOWNSTREAM_LOCAL_DNS_SAN": own(appendDNSNames),
		"DOWNSTREAM_LOCAL_URI_SAN": own(appendURIs),
		"DOWNSTREAM_LOCAL_SUBJECT": own(appendSubject),
		// crypto/tls does not tell which certificate was presented to an upstream.
		"UPSTREAM_LOCAL_IP_SAN":  text(never),
		"UPSTREAM_LOCAL_DNS_SAN": text(never),
		"UPSTREAM_LOCAL_URI_SAN": text(never),
	}
	addTLS(ops, "DOWNSTREAM", downstreamTLS)
	addTLS(ops, "UPSTREAM", upstreamTLS)
	chain := func(f func(dst []byte, c *x509.Certificate) []byte) operator {
		return text(func(dst []byte, c *Context) ([]byte, bool) {
			state := downstreamTLS(c)
			if state == nil || len(state.PeerCertificates) == 0 {
				return dst, false
			}
			for i, cert := range state.PeerCertificates {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = f(dst, cert)
			}
			return dst, true
		})
	}
	ops["DOWNSTREAM_PEER_FINGERPRINT_256"] = leaf(downstreamTLS, appendSHA256)
	ops["DOWNSTREAM_PEER_FINGERPRINT_1"] = leaf(downstreamTLS, appendSHA1)
	ops["DOWNSTREAM_PEER_SERIAL"] = leaf(downstreamTLS, appendSerial)
	ops["DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256"] = chain(appendSHA256)
	ops["DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1"] = chain(appendSHA1)
	ops["DOWNSTREAM_PEER_CHAIN_SERIALS"] = chain(appendSerial)
	return ops
}

type tlsState func(*Context) *tls.ConnectionState

func downstreamTLS(c *Context) *tls.ConnectionState {
	if c.Info == nil || c.Info.Conn == nil {
		return nil
	}
	return c.Info.Conn.TLS
}

func upstreamTLS(c *Context) *tls.ConnectionState {
	if c.Info == nil {
		return nil
	}
	return c.Info.Upstream.TLS
}

// addTLS adds the operators that both sides have.
func addTLS(ops map[string]operator, side string, of tlsState) {
	session := func(f func(*tls.ConnectionState) string) operator {
		return text(func(dst []byte, c *Context) ([]byte, bool) {
			state := of(c)
			if state == nil {
				return dst, false
			}
			return appendNonEmpty(dst, f(state))
		})
	}
	// Go does not expose session ids, and TLS 1.3 has none.
	ops[side+"_TLS_SESSION_ID"] = text(never)
	ops[side+"_TLS_CIPHER"] = session(func(s *tls.ConnectionState) string { return cipherName(s.CipherSuite) })
	ops[side+"_TLS_VERSION"] = session(func(s *tls.ConnectionState) string { return versionName(s.Version) })
	ops[side+"_PEER_SUBJECT"] = leaf(of, appendSubject)
	ops[side+"_PEER_ISSUER"] = leaf(of, func(dst []byte, c *x509.Certificate) []byte { return append(dst, c.Issuer.String()...) })
	ops[side+"_PEER_CERT"] = leaf(of, appendPEM)
	ops[side+"_PEER_URI_SAN"] = leaf(of, appendURIs)
	ops[side+"_PEER_DNS_SAN"] = leaf(of, appendDNSNames)
	ops[side+"_PEER_IP_SAN"] = leaf(of, appendIPs)
	ops[side+"_PEER_CERT_V_START"] = validity(of, true)
	ops[side+"_PEER_CERT_V_END"] = validity(of, false)
}

func comma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}

func appendSubject(dst []byte, c *x509.Certificate) []byte {
	return append(dst, c.Subject.String()...)
}

func appendURIs(dst []byte, c *x509.Certificate) []byte {
	for i, u := range c.URIs {
		dst = append(comma(dst, i), u.String()...)
	}
	return dst
}

func appendDNSNames(dst []byte, c *x509.Certificate) []byte {
	for i, name := range c.DNSNames {
		dst = append(comma(dst, i), name...)
	}
	return dst
}

func appendIPs(dst []byte, c *x509.Certificate) []byte {
	for i, ip := range c.IPAddresses {
		dst = append(comma(dst, i), ip.String()...)
	}
	return dst
}

// own renders the certificate that weir presented to the client; nothing rendered means unset.
func own(f func(dst []byte, c *x509.Certificate) []byte) operator {
	return text(func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil || c.Info.Conn == nil || c.Info.Conn.LocalCertificate == nil {
			return dst, false
		}
		n := len(dst)
		dst = f(dst, c.Info.Conn.LocalCertificate)
		return dst, len(dst) > n
	})
}

// leaf renders the peer's own certificate; nothing rendered means unset.
func leaf(of tlsState, f func(dst []byte, c *x509.Certificate) []byte) operator {
	return text(func(dst []byte, c *Context) ([]byte, bool) {
		state := of(c)
		if state == nil || len(state.PeerCertificates) == 0 {
			return dst, false
		}
		n := len(dst)
		dst = f(dst, state.PeerCertificates[0])
		return dst, len(dst) > n
	})
}

func validity(of tlsState, start bool) operator {
	return operator{args: argsOptional, bind: func(layout string) (appender, error) {
		if layout == "" {
			layout = "%Y-%m-%dT%H:%M:%E3SZ"
		}
		f, err := compileTime(layout)
		if err != nil {
			return nil, err
		}
		return leaf(of, func(dst []byte, c *x509.Certificate) []byte {
			if start {
				return f.append(dst, c.NotBefore.UTC())
			}
			return f.append(dst, c.NotAfter.UTC())
		}).value, nil
	}}
}

func appendSHA256(dst []byte, c *x509.Certificate) []byte {
	sum := sha256.Sum256(c.Raw)
	return hex.AppendEncode(dst, sum[:])
}

func appendSHA1(dst []byte, c *x509.Certificate) []byte {
	sum := sha1.Sum(c.Raw)
	return hex.AppendEncode(dst, sum[:])
}

func appendSerial(dst []byte, c *x509.Certificate) []byte {
	return hex.AppendEncode(dst, c.SerialNumber.Bytes())
}

// appendPEM writes the certificate as URL-encoded PEM.
func appendPEM(dst []byte, c *x509.Certificate) []byte {
	p := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	return append(dst, strings.ReplaceAll(url.QueryEscape(p), "+", "%20")...)
}

func versionName(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return ""
}

// cipherName is OpenSSL's name of a cipher suite, which is what Envoy prints. Suites of TLS 1.3 have one name.
func cipherName(id uint16) string {
	switch id {
	case tls.TLS_RSA_WITH_AES_128_CBC_SHA:
		return "AES128-SHA"
	case tls.TLS_RSA_WITH_AES_256_CBC_SHA:
		return "AES256-SHA"
	case tls.TLS_RSA_WITH_AES_128_GCM_SHA256:
		return "AES128-GCM-SHA256"
	case tls.TLS_RSA_WITH_AES_256_GCM_SHA384:
		return "AES256-GCM-SHA384"
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:
		return "ECDHE-ECDSA-AES128-SHA"
	case tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:
		return "ECDHE-ECDSA-AES256-SHA"
	case tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA:
		return "ECDHE-RSA-AES128-SHA"
	case tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA:
		return "ECDHE-RSA-AES256-SHA"
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:
		return "ECDHE-ECDSA-AES128-GCM-SHA256"
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:
		return "ECDHE-RSA-AES128-GCM-SHA256"
	case tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:
		return "ECDHE-ECDSA-AES256-GCM-SHA384"
	case tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:
		return "ECDHE-RSA-AES256-GCM-SHA384"
	case tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		return "ECDHE-RSA-CHACHA20-POLY1305"
	case tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return "ECDHE-ECDSA-CHACHA20-POLY1305"
	}
	return tls.CipherSuiteName(id)
}
