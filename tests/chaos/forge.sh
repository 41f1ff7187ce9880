#!/bin/bash
# Sends the agent what systemd would send, without being systemd: forge.sh STATE UNIT PATH [UNIT PATH …], until killed.
manager=org.freedesktop.systemd1.Manager
unit_interface=org.freedesktop.systemd1.Unit
base=/org/freedesktop/systemd1
state=$1
shift
emit() { busctl --destination="$to" emit "$@"; }
while :; do
    for to in $(busctl list --no-legend | awk '$3 ~ /^(fleet-agentd|python)/ {print $1}'); do
        pairs=("$@")
        for ((at = 0; at < ${#pairs[@]}; at += 2)); do
            unit=${pairs[at]} path=$base/unit/${pairs[at + 1]}
            job=$((RANDOM % 2000 + 1))
            emit $base $manager JobRemoved uoss $job $base/job/$job "$unit" done
            emit "$path" org.freedesktop.DBus.Properties PropertiesChanged 'sa{sv}as' $unit_interface \
                2 ActiveState s "$state" SubState s dead 0
            emit "$path" org.freedesktop.DBus.Properties PropertiesChanged 'sa{sv}as' $unit_interface \
                3 ActiveState u 7 SubState ay 1 255 StateChangeTimestamp s soon 0
        done
        emit $base $manager Reloading b false
        emit /org/freedesktop/DBus org.freedesktop.DBus NameOwnerChanged sss org.freedesktop.systemd1 :1.0 :1.99999
    done
    sleep 0.2
done
