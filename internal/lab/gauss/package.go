package gauss

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dsnet/compress/bzip2"
)

// file is one member of an archive or of an installation.
type file struct {
	body string
	mode uint32
	link string
}

var serverTools = []string{"gaussdb", "gs_ctl", "gs_guc", "gsql", "gs_initdb", "pg_controldata", "gs_basebackup", "gs_dump", "pg_config"}

// appFiles is what a server package unpacks to: bin, lib, share, etc and more.
func appFiles(r Release) map[string]file {
	f := map[string]file{
		"version.cfg":                             {body: versionCfg(r), mode: 0o644},
		"lib/libpq.so.5.5":                        {body: r.image() + "\n", mode: 0o755},
		"lib/libpq.so.5":                          {link: "libpq.so.5.5"},
		"lib/libecpg.so.6":                        {body: "libecpg " + r.image() + "\n", mode: 0o755},
		"lib/postgresql/plpgsql.so":               {body: "plpgsql " + r.image() + "\n", mode: 0o755},
		"lib/postgresql/security_plugin.so":       {body: "security_plugin " + r.image() + "\n", mode: 0o755},
		"share/postgresql/postgresql.conf.sample": {body: "#port = 5432\n#max_connections = 200\n", mode: 0o644},
		"share/postgresql/extension/dolphin--" + r.Version + ".sql": {body: "-- dolphin\n", mode: 0o644},
		"etc/gscgroup.cfg":         {body: "# control groups\n", mode: 0o644},
		"include/libpq-fe.h":       {body: "/* " + r.Version + " */\n", mode: 0o644},
		"simpleInstall/install.sh": {body: "#!/bin/sh\n", mode: 0o755},
		"jre/release":              {body: "JAVA_VERSION=\"1.8\"\n", mode: 0o644},
	}
	for _, t := range serverTools {
		f["bin/"+t] = file{body: "#!sim:" + t + " " + r.image() + "\n", mode: 0o755}
	}
	return f
}

// versionCfg is version.cfg of a package (spec/opengauss.md section 1.4).
func versionCfg(r Release) string {
	name := string(r.Product) + "-" + r.Version
	if r.major() >= 6 {
		name = string(r.Product) + "-Server-" + r.Version
	}
	s := fmt.Sprintf("%s\n%s\n%s\n", name, r.Kernel(), r.Commit)
	if r.major() >= 6 {
		s += "release\n"
	}
	return s
}

// upgradeVersion is bin/upgrade_version of an installation.
func upgradeVersion(r Release) string {
	v, _, _ := strings.Cut(r.Version, "-")
	return fmt.Sprintf("%s\n%s\n%s\n", v, r.Kernel(), r.Commit)
}

var cmTools = []string{"cm_ctl", "cm_server", "cm_agent", "om_monitor"}

// cmFiles is what a CM package unpacks to.
func cmFiles(r Release) map[string]file {
	f := map[string]file{
		"lib/libdcc.so":                        {body: "libdcc " + r.image() + "\n", mode: 0o755},
		"lib/libgstor.so":                      {body: "libgstor " + r.image() + "\n", mode: 0o755},
		"share/config/cm_agent.conf.sample":    {body: "log_dir = log\nupgrade_from = 0\nagent_heartbeat_timeout = 8\nunix_socket_directory = ''\n", mode: 0o600},
		"share/config/cm_server.conf.sample":   {body: "log_dir = log\ninstance_failover_delay_timeout = 0\ncmserver_ha_heartbeat_timeout = 6\nenable_ssl = on\n", mode: 0o600},
		"share/config/cm_server.conf.defaults": {body: "new_parameter_of = " + r.Version + "\n", mode: 0o600},
	}
	for _, t := range cmTools {
		f["bin/"+t] = file{body: "#!sim:" + t + " " + r.image() + "\n", mode: 0o755}
	}
	return f
}

var omTools = []string{"gs_om", "gs_ssh", "gs_checkos", "gs_collector", "gs_preinstall", "gs_sshexkey", "gs_expansion", "gs_dropnode"}

func omFiles(r Release) map[string]file {
	f := map[string]file{
		"version.cfg":     {body: fmt.Sprintf("openGauss-OM-%s\n92.298\n%s\n", r.Version, reverse(r.Commit)), mode: 0o400},
		"lib/paramiko.py": {body: "# library\n", mode: 0o400},
	}
	for _, t := range omTools {
		f["script/"+t] = file{body: "#!sim:" + t + " " + r.image() + "\n", mode: 0o755}
	}
	return f
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

func archive(files map[string]file) []byte {
	var buf bytes.Buffer
	t := tar.NewWriter(&buf)
	when := time.Date(2023, 3, 30, 12, 0, 0, 0, time.UTC)
	dirs := map[string]bool{}
	for _, name := range sortedKeys(files) {
		for d := path.Dir(name); d != "." && !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	add := func(h *tar.Header, body string) {
		h.ModTime, h.Format = when, tar.FormatGNU
		_ = t.WriteHeader(h)
		_, _ = t.Write([]byte(body))
	}
	for _, d := range sortedKeys(dirs) {
		add(&tar.Header{Name: "./" + d + "/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	}
	for _, name := range sortedKeys(files) {
		f := files[name]
		if f.link != "" {
			add(&tar.Header{Name: "./" + name, Typeflag: tar.TypeSymlink, Linkname: f.link, Mode: 0o777}, "")
			continue
		}
		add(&tar.Header{Name: "./" + name, Typeflag: tar.TypeReg, Mode: int64(f.mode), Size: int64(len(f.body))}, f.body)
	}
	_ = t.Close()
	return buf.Bytes()
}

func gz(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(b)
	_ = w.Close()
	return buf.Bytes()
}

func bz2(b []byte) []byte {
	var buf bytes.Buffer
	w, err := bzip2.NewWriter(&buf, nil)
	if err != nil {
		panic(err) // the default settings are valid
	}
	_, _ = w.Write(b)
	_ = w.Close()
	return buf.Bytes()
}

func hexSum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// Package is what the vendor publishes for one release.
type Package struct {
	Release Release
	Name    string            // the archive that holds everything
	Files   map[string][]byte // by name, Name among them
}

// Server is the name of the server's archive; the part that is not there has no name.
func (p *Package) Server() string { return p.part(".tar.bz2", "") }

// CM is the name of the cluster manager's archive.
func (p *Package) CM() string {
	if n := p.part("-cm.tar.gz", ""); n != "" {
		return n
	}
	return p.part(".tar.gz", "-CM-")
}

// OM is the name of the operation tools' archive.
func (p *Package) OM() string {
	if n := p.part("-om.tar.gz", ""); n != "" {
		return n
	}
	return p.part(".tar.gz", "-OM-")
}

func (p *Package) part(suffix, infix string) string {
	for _, n := range sortedKeys(p.Files) {
		if n != p.Name && strings.HasSuffix(n, suffix) && strings.Contains(n, infix) {
			return n
		}
	}
	return ""
}

var (
	packMu sync.Mutex
	packed = map[string]*Package{}
)

// PackageOf makes the packages of a release, named as in its era
// (spec/opengauss.md section 2, spec/mogdb.md section 2).
func PackageOf(f Flavor, version string) (*Package, error) {
	r, err := ReleaseOf(f, version)
	if err != nil {
		return nil, err
	}
	packMu.Lock()
	defer packMu.Unlock()
	key := string(f) + version
	if packed[key] == nil {
		packed[key] = pack(r)
	}
	return packed[key], nil
}

func pack(r Release) *Package {
	p := &Package{Release: r, Files: map[string][]byte{}}
	v := r.Version
	server := bz2(archive(appFiles(r)))
	sql := map[string]file{}
	for n, body := range upgradeSQL(r.Number) {
		sql[n] = file{body: body, mode: 0o644}
	}
	sqlTar := gz(archive(sql))
	add := func(name, sum string, body []byte) {
		p.Files[name] = body
		p.Files[sum] = []byte(hexSum(body) + "\n")
	}
	add("upgrade_sql.tar.gz", "upgrade_sql.sha256", sqlTar)
	om := omFiles(r)
	switch {
	case r.Product == MogDB:
		b := "MogDB-" + v + "-CentOS-64bit"
		add(b+".tar.bz2", b+".sha256", server)
		add(b+"-om.tar.gz", b+"-om.sha256", gz(archive(om)))
		p.Name = "MogDB-" + v + "-CentOS-x86_64.tar.gz"
	case r.Number < 92298: // 1.0.x: one file for all
		b := "openGauss-" + v + "-CentOS-64bit"
		om[b+".tar.bz2"] = file{body: string(server), mode: 0o644}
		om[b+".sha256"] = file{body: hexSum(server) + "\n", mode: 0o644}
		p.Name = b + ".tar.gz"
		p.Files = map[string][]byte{p.Name: gz(archive(om))}
		return p
	case r.major() >= 6 && !strings.Contains(v, "RC"):
		name := func(part string) string { return "openGauss-" + part + "-" + v + "-CentOS7-x86_64" }
		add(name("Server")+".tar.bz2", name("Server")+".sha256", server)
		add(name("OM")+".tar.gz", name("OM")+".sha256", gz(archive(om)))
		add(name("CM")+".tar.gz", name("CM")+".sha256", gz(archive(cmFiles(r))))
		p.Name = name("All") + ".tar.gz"
	default:
		b := "openGauss-" + v + "-CentOS-64bit"
		add(b+".tar.bz2", b+".sha256", server)
		add(b+"-om.tar.gz", b+"-om.sha256", gz(archive(om)))
		if r.major() >= 3 {
			add(b+"-cm.tar.gz", b+"-cm.sha256", gz(archive(cmFiles(r))))
		}
		p.Name = b + "-all.tar.gz"
	}
	all := map[string]file{}
	for n, body := range p.Files {
		all[n] = file{body: string(body), mode: 0o644}
	}
	p.Files[p.Name] = gz(archive(all))
	return p
}

// Write puts the archive that holds everything, and its CM part, into a directory.
func (p *Package) Write(dir string) ([]string, error) {
	var out []string
	for _, n := range []string{p.Name, p.CM()} {
		if n == "" {
			continue
		}
		names := []string{n}
		if n == p.CM() {
			for _, s := range []string{strings.TrimSuffix(n, ".tar.gz") + ".sha256"} {
				if _, ok := p.Files[s]; ok {
					names = append(names, s)
				}
			}
		}
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), p.Files[name], 0o644); err != nil {
				return nil, fmt.Errorf("write the package: %w", err)
			}
		}
		out = append(out, filepath.Join(dir, n))
	}
	return out, nil
}
