/** Jest's own runner, for a project whose test files run one after another, however many workers there are. */
import Runner from 'jest-runner';

// oxlint-disable-next-line import/no-default-export -- jest wants it so
export default class SerialRunner extends Runner {
  isSerial = true;
}
