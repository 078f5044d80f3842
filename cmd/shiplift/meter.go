package main

import (
	"context"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/meter"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

// meterFlags say whether and how a run is measured.
type meterFlags struct {
	on      bool
	dsnFile string
}

func (a *app) meterFlags(cmd *cobra.Command) *meterFlags {
	m := &meterFlags{}
	cmd.Flags().BoolVar(&m.on, "meter", false, a.t("write into a small table during the run; measure interruption and lost writes", "执行期间向一张小表持续写入，测量中断时长和丢失的写入"))
	cmd.Flags().StringVar(&m.dsnFile, "meter-dsn-file", "", a.t("file with the meter's connection string, all hosts in it; made from the inventory when empty", "存放压测连接串（含全部主机）的文件；为空时由清单生成"))
	_ = cmd.MarkFlagFilename("meter-dsn-file")
	return m
}

// metering is a measurement beside a run.
type metering struct {
	meter  *meter.Meter
	result *view.Measured
}

// meterStop is how long reading the rows back may take.
const meterStop = 2 * time.Minute

// startMeter begins to write before the run does.
func (j *job) startMeter(ctx context.Context, f *meterFlags) error {
	if !f.on {
		if f.dsnFile != "" {
			return usage("--meter-dsn-file", say.F("it says nothing without --meter", "没有 --meter 时该参数无意义"), say.Text{})
		}
		return nil
	}
	dsn, err := j.meterDSN(f)
	if err != nil {
		return err
	}
	m, err := meter.Start(ctx, meter.Config{DSN: dsn})
	if err != nil {
		return err
	}
	j.meter = &metering{meter: m}
	return nil
}

// meterDSN reads the connection string, or makes one of what the inventory says.
func (r *room) meterDSN(f *meterFlags) (string, error) {
	if f.dsnFile != "" {
		body, err := os.ReadFile(f.dsnFile)
		if err != nil {
			return "", usage("--meter-dsn-file", say.F("cannot read it: %s", "无法读取：%s", err), say.Same("ls -l "+quote(f.dsnFile)))
		}
		return strings.TrimSpace(string(body)), nil
	}
	if r.driver.Name() != postgres.Name {
		return "", usage("--meter", say.F("there is no meter for driver %s", "驱动 %s 没有压测程序", r.driver.Name()), say.Text{})
	}
	var hosts []string
	for _, n := range r.inv.Nodes {
		hosts = append(hosts, net.JoinHostPort(n.Address, orElse(n.Settings["port"], "5432")))
	}
	first := r.inv.Nodes[0]
	u := url.URL{
		Scheme: "postgres", User: url.User(orElse(first.Settings["user"], "postgres")), Host: strings.Join(hosts, ","),
		Path: "/" + orElse(first.Settings["database"], "postgres"), RawQuery: "target_session_attrs=read-write",
	}
	if mode := first.Settings["sslmode"]; mode != "" {
		u.RawQuery += "&sslmode=" + url.QueryEscape(mode)
	}
	password, err := r.secret(first.Name, "password")
	if err != nil {
		return "", err
	}
	if password != "" {
		u.User = url.UserPassword(u.User.Username(), password)
	}
	return u.String(), nil
}

func orElse(v, otherwise string) string {
	if v == "" {
		return otherwise
	}
	return v
}

// settleMeter stops the writers, reads the rows back and keeps the result in the journal.
func (j *job) settleMeter(ctx context.Context) {
	if j.meter == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), meterStop)
	defer cancel()
	rep, err := j.meter.meter.Stop(ctx)
	if err != nil {
		j.app.screen.Talk(say.Join(": ", say.F("the meter could not finish", "压测未能完成"), say.Of(err)))
	}
	j.meter.result = measured(&rep)
	data, err := json.Marshal(map[string]any{"measured": j.meter.result})
	if err == nil {
		err = j.copy.Append(ctx, journal.Record{Kind: journal.Note, Time: time.Now(), Reason: "writes were measured", Data: data})
	}
	if err != nil {
		j.app.screen.Talk(say.Join(": ", say.F("the measurement is not in the journal", "测量结果未写入日志"), say.Of(err)))
	}
}

func measured(rep *meter.Report) *view.Measured {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	m := &view.Measured{
		InterruptionMS: rep.InterruptedMS, GapP50MS: ms(rep.GapSpread.P50), GapP99MS: ms(rep.GapSpread.P99),
		LostWrites: rep.LostWrites, Acknowledged: rep.Rows, RowsBefore: rep.Before, RowsAfter: rep.After,
	}
	for _, e := range rep.Errors {
		m.Errors += e.Count
	}
	return m
}
