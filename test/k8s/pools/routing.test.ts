import { describe, expect, test } from '@jest/globals';
import { attemptsOn, endpointsOf } from '../../../src/k8s/pools/routing.ts';
import type { EndpointSlice } from '../../../src/k8s/resources.ts';

type Endpoint = NonNullable<EndpointSlice['endpoints']>[number];

function slice(endpoints: readonly Endpoint[], port = 7443): EndpointSlice {
  return { metadata: { name: 's', namespace: 'n' }, addressType: 'IPv4', endpoints, ports: [{ name: 'grpc', port }] };
}
const at = (address: string, nodeName: string, conditions?: Endpoint['conditions']): Endpoint => ({
  addresses: [address],
  nodeName,
  ...(conditions === undefined ? {} : { conditions }),
});

describe('the endpoints of the stores', () => {
  test.each([
    ['ready', { ready: true, serving: true, terminating: false }, 'serving'],
    ['not ready', { ready: false, serving: false, terminating: false }, 'silent'],
    ['ending, and serving still', { ready: false, serving: true, terminating: true }, 'leaving'],
    ['ending', { ready: false, serving: false, terminating: true }, 'silent'],
    ['of which only readiness is told', { ready: false }, 'silent'],
    ['of a Service that publishes addresses too early', { ready: true, serving: false }, 'silent'],
    ['of which nothing is told', undefined, 'serving'],
  ])('one that is %s', (_, conditions, state) => {
    expect(endpointsOf([slice([at('10.0.0.1', 'a', conditions)])])).toEqual([{ address: '10.0.0.1', port: 7443, node: 'a', state }]);
  });

  test('the same in two slices is one, at its best', () => {
    const slices = [slice([at('10.0.0.1', 'a', { serving: false })]), slice([at('10.0.0.1', 'a', { serving: true })])];
    expect(endpointsOf(slices)).toHaveLength(1);
    expect(endpointsOf(slices)[0]!.state).toBe('serving');
  });

  test('without a node, an address or a port is none', () => {
    const nowhere = slice([{ addresses: ['10.0.0.1'] }, { addresses: [], nodeName: 'a' }]);
    expect(
      endpointsOf([nowhere, { ...slice([at('10.0.0.2', 'a')]), ports: [] }, { metadata: { name: 'x' }, addressType: 'IPv4' }]),
    ).toEqual([]);
  });

  test('of a node are tried in the order of what they promise', () => {
    const endpoints = endpointsOf([
      slice([
        at('10.0.0.1', 'a', { serving: true, terminating: true }),
        at('10.0.0.2', 'a', { serving: false }),
        at('10.0.0.3', 'a', { serving: true }),
        at('10.0.0.4', 'b', { serving: true }),
      ]),
    ]);
    expect(attemptsOn('a', endpoints).map((group) => group.map(({ address }) => address))).toEqual([['10.0.0.3'], ['10.0.0.1']]);
    expect(attemptsOn('c', endpoints)).toEqual([]);
  });
});
